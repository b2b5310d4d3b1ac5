"""TensorRT made of numpy: an "engine" names a function of `FUNCTIONS`, which reads and writes the fake GPU's memory.

In both flavours: with `rtx` it has a runtime cache and records CUDA graphs by itself, without it it has neither. What
is called here by the runtime exists in the real package (test_execution.py holds the names against it).
"""

from __future__ import annotations

import json
import math
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from fake_cuda import FakeCuda
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
FUNCTIONS: dict[str, tuple[str, Callable[[Arrays], NDArray[Any]]]] = {}  # name -> output's name, arithmetic


def engine(function: str, **inputs: tuple[str, tuple[int, ...], tuple[int, ...]]) -> bytes:
    """An engine as bytes: for each input its dtype, and its smallest and largest shape; it is tuned for the largest,
    and where the name begins with `noise`, for one row."""
    return json.dumps({"function": function, "inputs": inputs}).encode()


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = 0, 1, 2

    def log(self, severity: int, message: str) -> None:
        raise NotImplementedError


class FakeTensorRT(SimpleNamespace):
    """Stands where the module stands. `refuses`: what an engine, a context or a run fails with."""

    def __init__(self, card: FakeCuda, *, rtx: bool) -> None:
        super().__init__()
        self.__name__ = "tensorrt_rtx" if rtx else "tensorrt"
        self.__version__ = "1.7.1.116" if rtx else "11.4.0"
        self.card = card
        self.ILogger = ILogger
        self.TensorIOMode = SimpleNamespace(INPUT="input", OUTPUT="output")
        self.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user")
        self.ProfilingVerbosity = SimpleNamespace(NONE="none", DETAILED="detailed")
        if rtx:
            self.CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole", DISABLED="none")
            self.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(LAZY="lazy", EAGER="eager")
        self.refuses: dict[str, str] = {}
        self.contexts = 0  # made so far
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()
        self.runs: list[tuple[int, ...]] = []  # shapes of the first input, each time that kernels were enqueued
        self.caches: list[RuntimeCache] = []
        self.settings: list[RuntimeConfig] = []
        self.logs: list[ILogger] = []
        self.Runtime = lambda logger: Runtime(self, logger)

    def nptype(self, kind: str) -> type:
        return np.dtype(kind).type


class Runtime:
    def __init__(self, trt: FakeTensorRT, logger: ILogger) -> None:
        self.trt, self.logger = trt, logger
        trt.logs.append(logger)
        reason = trt.refuses.get("start")
        if reason is not None:
            logger.log(ILogger.INTERNAL_ERROR, reason)
            raise TypeError("pybind11::init(): factory function returned nullptr")
        trt.alive.add(self)

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
        reason = self.trt.refuses.get("engine")
        if reason is not None:
            self.logger.log(ILogger.ERROR, reason)
            self.logger.log(ILogger.ERROR, "catchCudaError: and what follows from it")
            return None
        return Engine(self.trt, self.logger, json.loads(serialized_engine))


class Engine:
    def __init__(self, trt: FakeTensorRT, logger: ILogger, facts: dict[str, Any]) -> None:
        self.trt, self.logger = trt, logger
        self.inputs = {name: (kind, tuple(low), tuple(high)) for name, (kind, low, high) in facts["inputs"].items()}
        self.output, self.function = FUNCTIONS[facts["function"]]
        self.num_io_tensors = len(self.inputs) + 1
        self.device_memory_size_v2 = 4096
        trt.alive.add(self)

    def get_tensor_name(self, index: int) -> str:
        return (*self.inputs, self.output)[index]

    def get_tensor_mode(self, name: str) -> str:
        return self.trt.TensorIOMode.INPUT if name in self.inputs else self.trt.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> str:
        if name in self.inputs:
            return self.inputs[name][0]
        return str(self.function({one: np.zeros(low, kind) for one, (kind, low, _) in self.inputs.items()}).dtype)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        _, low, high = self.inputs[name]
        return [low, low if name.startswith("noise") else high, high]

    def create_runtime_config(self) -> RuntimeConfig:
        self.trt.settings.append(RuntimeConfig(self.trt))
        return self.trt.settings[-1]

    def create_execution_context(self, setting: Any) -> Context | None:
        if "context" in self.trt.refuses:
            self.logger.log(ILogger.ERROR, self.trt.refuses["context"])
            return None
        self.trt.contexts += 1
        return Context(self, setting)


class RuntimeCache:
    """What was compiled: the names of the shapes that ran."""

    def __init__(self) -> None:
        self.content: bytes = b""
        self.loaded: bytes | None = None

    def deserialize(self, blob: bytes) -> bool:
        self.loaded = self.content = bytes(blob)
        return True

    def serialize(self) -> bytes:
        return self.content


class RuntimeConfig:
    def __init__(self, trt: FakeTensorRT) -> None:
        self.trt = trt
        self.cuda_graph_strategy: Any = None
        self.dynamic_shapes_kernel_specialization_strategy = "lazy"
        self.cache: RuntimeCache | None = None

    def create_runtime_cache(self) -> RuntimeCache:
        self.trt.caches.append(RuntimeCache())
        return self.trt.caches[-1]

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self.cache = cache
        return True


class Context:
    def __init__(self, engine: Engine, setting: Any) -> None:
        self.engine, self.setting = engine, setting
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.scratch: tuple[int, int] | None = None
        self.nvtx_verbosity = "detailed"  # as the engine was built
        engine.trt.alive.add(self)

    def set_device_memory(self, memory: int, size: int) -> None:
        self.scratch = memory, size

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        _, low, high = self.engine.inputs[name]
        if len(shape) != len(low) or not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
            return False
        self.shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self.shapes:
            return self.shapes[name]
        inputs = self.engine.inputs
        return self.engine.function({one: np.zeros(self.shapes[one], inputs[one][0]) for one in inputs}).shape

    def execute_async_v3(self, stream_handle: int) -> bool:
        trt, engine = self.engine.trt, self.engine
        if "run" in trt.refuses:
            engine.logger.log(ILogger.ERROR, trt.refuses["run"])
            return False
        assert set(self.addresses) == {*engine.inputs, engine.output}
        assert self.nvtx_verbosity == "none", "each launch would tell the names of its layers"
        rtx = hasattr(trt, "CudaGraphStrategy")
        if rtx:
            assert self.setting.cuda_graph_strategy == trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            self.setting.cache.content += repr(tuple(self.shapes.values())).encode()
        else:
            assert self.setting == trt.ExecutionContextAllocationStrategy.USER_MANAGED
            assert self.scratch is not None
        shapes, addresses, kinds = dict(self.shapes), dict(self.addresses), engine.inputs
        trt.runs.append(next(iter(shapes.values())))

        def compute() -> None:
            feeds = {
                name: trt.card.at(addresses[name], math.prod(shape) * np.dtype(kinds[name][0]).itemsize)
                .view(kinds[name][0]).reshape(shape).copy()
                for name, shape in shapes.items()
            }  # fmt: skip
            made = np.ascontiguousarray(engine.function(feeds))
            trt.card.at(addresses[engine.output], made.nbytes)[:] = made.reshape(-1).view(np.uint8)

        trt.card.enqueue(stream_handle, compute)
        return True
