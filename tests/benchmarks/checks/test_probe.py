"""Whether TensorRT accepts a GPU: the answers, on a GPU made of NumPy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from starcast.benchmarks.checks.check import NotRunError, WrongError, relative_error, require_errors_within
from starcast.benchmarks.checks.probe import (
    BETA,
    CHANNELS,
    GAMMA,
    SIDE,
    accepts,
    build_engine,
    checkerboard,
    checkerboard_truth,
    open_session,
    open_tensorrt,
    write_norm,
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
    monkeypatch.setattr("starcast.benchmarks.checks.check.find_engine", lambda name: absent)
    with pytest.raises(NotRunError, match="cuda is not installed"), open_session("cuda", tmp_path / "probe.onnx"):
        pass


def test_the_checkerboard_has_a_mean_of_zero_and_squares_that_no_half_holds():
    board = checkerboard()
    assert board.dtype == np.float16
    assert board.astype(np.float64).mean() == 0
    assert board.astype(np.float64).std() == 512
    with np.errstate(over="ignore"):
        assert np.isinf(board * board).all()


def test_its_truth_is_the_norms_definition_in_float64():
    wide = checkerboard().astype(np.float64)
    whole = (wide - wide.mean((2, 3), keepdims=True)) / np.sqrt(wide.var((2, 3), keepdims=True) + 1e-5)
    y = whole * GAMMA[:, None, None] + BETA[:, None, None]
    np.testing.assert_allclose(checkerboard_truth(), np.where(y < 0, 0.2 * y, y), rtol=1e-12)


@pytest.mark.parametrize("statistics", ["one-pass", "two-pass"])
def test_the_exports_spelling_passes_the_check_when_every_operator_rounds(tmp_path, statistics):
    model = onnx.load(write_norm(tmp_path, statistics))
    assert "InstanceNormalization" not in {node.op_type for node in model.graph.node}
    [y] = ReferenceEvaluator(model).run(None, {"x": checkerboard()})
    assert relative_error(y, checkerboard_truth()) < 2e-3


def test_a_norm_that_squares_in_half_fails_it():
    board = checkerboard()
    with np.errstate(all="ignore"):
        variance = (board * board).mean((2, 3), keepdims=True, dtype=np.float16)
        y = board / np.sqrt(variance) * GAMMA[:, None, None].astype(np.float16)
        error = relative_error(y, checkerboard_truth())
    with pytest.raises(WrongError):
        require_errors_within({"fp16": error}, 2e-3)
    with pytest.raises(WrongError):  # Python's max passes over what is not a number, unless it stands first
        require_errors_within({"fp32": 0.0, "fp16": error}, 2e-3)
