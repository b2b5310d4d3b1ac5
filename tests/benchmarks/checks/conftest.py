"""A GPU made of NumPy, on which the checks run."""

from __future__ import annotations

import numpy as np
import pytest

from starcast.benchmarks.checks import leaks, probe
from starcast.benchmarks.checks.probe import CHANNELS
from starcast.runtime.nvidia.tensorrt.flavours import Flavour


@pytest.fixture
def fake_gpu(monkeypatch):
    """The fake GPU and TensorRT, whose engines compute the probe's layer."""
    pytest.importorskip("cuda.bindings.driver", reason="the fake GPU's constants are cuda-python's")
    import fake_tensorrt
    from fake_cuda import FakeCuda, install
    from fake_tensorrt import FakeTensorRT, engine

    from starcast.runtime.nvidia import cuda_python, first_gpu

    fake = install(monkeypatch, FakeCuda())
    for module in (probe, leaks):
        monkeypatch.setattr(module, "open_driver", cuda_python.CudaPython)
    trt = FakeTensorRT(fake, rtx=True)
    monkeypatch.setattr(Flavour, "absent", lambda self: None)
    monkeypatch.setattr(Flavour, "load", lambda self: trt)
    weights = probe.draw(0, CHANNELS, CHANNELS, 1, 1)[:, :, 0, 0].astype(np.float32)
    fake.wrong = 0.0

    def layer(feeds):
        return (np.einsum("oi,nihw->nohw", weights, feeds["x"].astype(np.float32)) + fake.wrong).astype(np.float16)

    monkeypatch.setitem(fake_tensorrt.FUNCTIONS, "probe", ("y", layer))

    def build_engine(flavour, graph, target, sizes):
        smallest, largest = ((batch, CHANNELS, side, side) for batch, side in sizes)
        return engine("probe", x=("float16", smallest, largest))

    monkeypatch.setattr(probe, "build_engine", build_engine)
    fake.trt = trt
    yield fake
    first_gpu._ask.cache_clear()
