"""Whether TensorRT accepts a GPU: the answers, on a GPU made of NumPy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from starcast.benchmarks.checks.check import NotRunError, WrongError
from starcast.benchmarks.checks.checkerboard import write_norm
from starcast.benchmarks.checks.probe import (
    CHANNELS,
    SIDE,
    accepts,
    build_engine,
    open_session,
    open_tensorrt,
    write_probe,
)
from starcast.runtime.engines.base import NOT_INSTALLED
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS, Flavour


@pytest.mark.parametrize("graph", ["probe", "norm"])
@pytest.mark.parametrize("target", [None, "sm89"])
def test_tensorrt_rtx_builds_the_checks_graphs_without_a_gpu(tmp_path, graph, target):
    reason = FLAVOURS["tensorrt-rtx"].absent()
    if reason is not None:
        pytest.skip(f"tensorrt-rtx is {reason}")
    if graph == "probe":
        file = write_probe(tmp_path, np.ones((CHANNELS, CHANNELS, 1, 1), np.float16))
    else:
        file = write_norm(tmp_path, "one-pass")
    assert build_engine("tensorrt-rtx", file, target, ((1, SIDE), (4, SIDE)))[:4] == b"vtrt"


def test_a_flavour_that_runs_the_probe_right_is_accepted_and_all_is_freed(fake_gpu, tmp_path):
    assert accepts("tensorrt-rtx", "current", tmp_path)["error"] < 1e-3
    assert fake_gpu.leaks() == []


def test_one_that_runs_it_wrong_has_failed(fake_gpu, tmp_path):
    fake_gpu.wrong = 1.0
    with pytest.raises(WrongError, match="wrong numbers"):
        accepts("tensorrt-rtx", "current", tmp_path)


def test_one_that_refuses_the_gpu_has_no_answer_but_a_reason(fake_gpu, tmp_path):
    fake_gpu.trt.refuses["engine"] = "unsupported SM 9.0"
    with pytest.raises(NotRunError, match=r"refused: probe\.onnx is refused by tensorrt_rtx .*unsupported SM 9\.0"):
        accepts("tensorrt-rtx", None, tmp_path)
    assert fake_gpu.leaks() == []


def test_one_that_is_not_installed_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(Flavour, "absent", lambda self: NOT_INSTALLED)
    with pytest.raises(NotRunError, match="tensorrt is not installed"):
        accepts("tensorrt", None, tmp_path)


def test_a_session_is_closed_even_if_the_check_fails(fake_gpu, tmp_path):
    graph = write_probe(tmp_path, np.ones((CHANNELS, CHANNELS, 1, 1), np.float16))
    with pytest.raises(ZeroDivisionError), open_tensorrt("tensorrt-rtx", graph, "current", ((1, SIDE), (1, SIDE))):
        raise ZeroDivisionError
    assert fake_gpu.leaks() == []


def test_a_session_of_another_engine_needs_the_engine(tmp_path, monkeypatch):
    absent = SimpleNamespace(absent=lambda: NOT_INSTALLED)
    monkeypatch.setattr("starcast.benchmarks.checks.check.engine_of", lambda name: absent)
    with pytest.raises(NotRunError, match="cuda is not installed"), open_session("cuda", tmp_path / "probe.onnx"):
        pass
