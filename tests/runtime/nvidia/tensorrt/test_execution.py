"""The made-up TensorRT against the real packages: what the runtime calls exists there under the same name."""

from __future__ import annotations

import inspect
import re

import fake_tensorrt
import numpy as np
import pytest

from starcast.errors import EngineError
from starcast.runtime.nvidia.first_gpu import current_gpu
from starcast.runtime.nvidia.tensorrt import execution, flavours

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")

PAIRS = [
    (fake_tensorrt.Runtime, "Runtime"),
    (fake_tensorrt.Engine, "ICudaEngine"),
    (fake_tensorrt.RuntimeConfig, "IRuntimeConfig"),
    (fake_tensorrt.RuntimeCache, "IRuntimeCache"),
    (fake_tensorrt.Context, "IExecutionContext"),
]
METHODS = [(real, name) for fake, real in PAIRS for name in vars(fake) if not name.startswith("_")]


@pytest.mark.parametrize(("real", "name"), METHODS, ids=[f"{real}.{name}" for real, name in METHODS])
def test_the_real_class_has_the_method_with_those_arguments(real, name):
    fake = getattr(next(fake for fake, one in PAIRS if one == real), name)
    ours = list(inspect.signature(fake).parameters)[1:]
    documented = re.findall(rf"{name}\(self: [\w.]+(?:, )?(.*?)\) ->", getattr(getattr(trt, real), name).__doc__)
    overloads = [[one.partition(":")[0].strip() for one in _split(line)] for line in documented]
    assert any(len(overload) == len(ours) for overload in overloads), documented


def _split(arguments: str) -> list[str]:
    """Arguments of a signature; their types may hold commas."""
    return [one for one in re.split(r", (?=\w+: )", arguments) if one]


@pytest.mark.parametrize("name", ["num_io_tensors", "device_memory_size_v2"])
def test_an_engine_has_the_properties_that_are_read(name):
    assert isinstance(getattr(trt.ICudaEngine, name), property)


def test_a_runtime_configuration_takes_the_strategy():
    assert trt.IRuntimeConfig.cuda_graph_strategy.fset is not None
    assert trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE != trt.CudaGraphStrategy.DISABLED


def test_every_name_of_the_module_is_there():
    source = inspect.getsource(execution) + inspect.getsource(flavours.error_log)
    used = set(re.findall(r"\b(?:self\._)?trt\.([A-Za-z_]+(?:\.[A-Za-z_]+)*)", source))
    assert used >= {"Runtime", "ILogger", "nptype", "TensorIOMode.INPUT"}
    for path in used:
        held = trt
        for part in path.split("."):
            held = getattr(held, part)


def test_the_loggers_severities_are_told_apart_and_a_log_can_be_made_of_it():
    log = flavours.error_log(trt)
    log.log(trt.ILogger.ERROR, "wrong")
    log.log(trt.ILogger.WARNING, "odd")
    assert log.said == ["wrong"]


def test_numbers_are_named_as_numpy_does():
    kinds = {"uint8": trt.uint8, "int64": trt.int64, "float32": trt.float32, "float16": trt.float16}
    assert {name: np.dtype(trt.nptype(kind)).name for name, kind in kinds.items()} == {name: name for name in kinds}


def test_without_a_driver_an_engine_is_refused_in_one_sentence():
    if current_gpu() is not None:
        pytest.skip("there is a card")
    with pytest.raises(EngineError, match=r"g\.onnx is refused by tensorrt_rtx .*: build it again") as caught:
        execution.deserialise(trt, b"vtrt and nothing more", None, "g.onnx")
    assert len(str(caught.value).splitlines()) == 1
