"""The checks themselves, as far as a machine without a card goes: their graphs, their truth, and a card of numpy."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from starcast.benchmarks import card_checks
from starcast.benchmarks.card_checks import (
    BETA,
    CHANNELS,
    GAMMA,
    SIDE,
    NotRunError,
    WrongError,
    checkerboard,
    checkerboard_truth,
)
from starcast.runtime.tensorrt.flavours import FLAVOURS, Flavour


def test_the_checkerboard_has_a_mean_of_nought_and_squares_that_no_half_holds():
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
    model = onnx.load(card_checks.spelled_norm(tmp_path, statistics))
    assert "InstanceNormalization" not in {node.op_type for node in model.graph.node}
    [y] = ReferenceEvaluator(model).run(None, {"x": checkerboard()})
    assert card_checks._distance(y, checkerboard_truth()) < 2e-3


def test_a_norm_that_squares_in_half_fails_it():
    board = checkerboard()
    with np.errstate(all="ignore"):
        variance = (board * board).mean((2, 3), keepdims=True, dtype=np.float16)
        y = board / np.sqrt(variance) * GAMMA[:, None, None].astype(np.float16)
        error = card_checks._distance(y, checkerboard_truth())
    with pytest.raises(WrongError):
        card_checks._within({"fp16": error}, 2e-3)
    with pytest.raises(WrongError):  # Python's max passes over what is not a number, unless it stands first
        card_checks._within({"fp32": 0.0, "fp16": error}, 2e-3)


@pytest.mark.parametrize("graph", ["probe", "norm"])
@pytest.mark.parametrize("target", [None, "sm89"])
def test_tensorrt_rtx_builds_the_checks_graphs_without_a_card(tmp_path, graph, target):
    reason = FLAVOURS["tensorrt-rtx"].absent()
    if reason is not None:
        pytest.skip(f"tensorrt-rtx is {reason}")
    if graph == "probe":
        file = card_checks._probe(tmp_path, np.ones((CHANNELS, CHANNELS, 1, 1), np.float16))
    else:
        file = card_checks.spelled_norm(tmp_path, "one-pass")
    assert card_checks.built("tensorrt-rtx", file, target, ((1, SIDE), (4, SIDE)))[:4] == b"vtrt"


@pytest.fixture
def card(monkeypatch):
    """The fake card and TensorRT, whose engines compute the probe's layer."""
    pytest.importorskip("cuda.bindings.driver", reason="the fake card's constants are cuda-python's")
    import fake_tensorrt
    from fake_cuda import FakeCuda, install
    from fake_tensorrt import FakeTensorRT, engine

    from starcast.runtime.cuda import cuda_python, gpu

    fake = install(monkeypatch, FakeCuda())
    monkeypatch.setattr(card_checks, "open_driver", cuda_python.CudaPython)
    trt = FakeTensorRT(fake, rtx=True)
    monkeypatch.setattr(Flavour, "absent", lambda self: None)
    monkeypatch.setattr(Flavour, "load", lambda self: trt)
    weights = card_checks._draws(0, CHANNELS, CHANNELS, 1, 1)[:, :, 0, 0].astype(np.float32)
    fake.wrong = 0.0

    def layer(feeds):
        return (np.einsum("oi,nihw->nohw", weights, feeds["x"].astype(np.float32)) + fake.wrong).astype(np.float16)

    monkeypatch.setitem(fake_tensorrt.FUNCTIONS, "probe", ("y", layer))

    def built(flavour, graph, target, sizes):
        smallest, largest = ((batch, CHANNELS, side, side) for batch, side in sizes)
        return engine("probe", x=("float16", smallest, largest))

    monkeypatch.setattr(card_checks, "built", built)
    fake.trt = trt
    yield fake
    gpu._found.cache_clear()


def test_a_flavour_that_runs_the_probe_right_is_accepted_and_all_is_freed(card, tmp_path):
    assert card_checks.accepts("tensorrt-rtx", "current", tmp_path)["error"] < 1e-3
    assert card.leaks() == []


def test_one_that_runs_it_wrong_has_failed(card, tmp_path):
    card.wrong = 1.0
    with pytest.raises(WrongError, match="wrong numbers"):
        card_checks.accepts("tensorrt-rtx", "current", tmp_path)


def test_one_that_refuses_the_card_has_no_answer_but_a_reason(card, tmp_path):
    card.trt.refuses["engine"] = "unsupported SM 9.0"
    with pytest.raises(NotRunError, match=r"refused: probe\.onnx is refused by tensorrt_rtx .*unsupported SM 9\.0"):
        card_checks.accepts("tensorrt-rtx", None, tmp_path)
    assert card.leaks() == []


def test_one_that_is_not_installed_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(Flavour, "absent", lambda self: "not installed")
    with pytest.raises(NotRunError, match="tensorrt is not installed"):
        card_checks.accepts("tensorrt", None, tmp_path)


def test_calls_and_shapes_that_keep_nothing_pass_the_leak_check(card, tmp_path, monkeypatch):
    monkeypatch.setattr(card_checks, "CALLS", 300)
    monkeypatch.setattr(card_checks, "SHAPES", 12)
    figures = card_checks.leaks("tensorrt-rtx", tmp_path)
    assert (figures["calls"], figures["shapes"], figures["card"]) == (300, 12, 0)
    assert len(card.trt.runs) == 300
    assert {run[2] for run in card.trt.runs} == set(range(1, 13))
    assert card.leaks() == []


def test_memory_that_each_call_keeps_is_found(card, tmp_path, monkeypatch):
    monkeypatch.setattr(card_checks, "CALLS", 300)
    monkeypatch.setattr(card_checks, "SHAPES", 4)
    run = card_checks.TensorRTSession.run

    def leaking(session, feeds):
        with session._driver.active():
            session._driver.allocate(100_000)
        return run(session, feeds)

    monkeypatch.setattr(card_checks.TensorRTSession, "run", leaking)
    with pytest.raises(WrongError, match=r"25 MiB of the card and \d+ MiB of the process are gone"):
        card_checks.leaks("tensorrt-rtx", tmp_path)


def test_the_torch_backend_keeps_nothing_of_calls_and_shapes(card, tmp_path, monkeypatch):
    monkeypatch.setattr(card_checks, "_torch_on_card", lambda: None)  # the processor stands in for the card
    monkeypatch.setattr(card_checks, "CALLS", 300)
    monkeypatch.setattr(card_checks, "SHAPES", 12)
    figures = card_checks.leaks("torch", tmp_path)
    assert (figures["calls"], figures["shapes"], figures["card"]) == (300, 12, 0)


def test_what_another_engines_calls_keep_is_found(card, tmp_path, monkeypatch):
    class Engine:
        def open(self, graph, options):
            return self

        def run(self, feeds):
            assert feeds["x"].dtype == np.float32
            driver = card_checks.open_driver()
            with driver.active():
                driver.allocate(100_000)

        def close(self):
            pass

    monkeypatch.setattr(card_checks, "_present", lambda engine: None)
    monkeypatch.setattr(card_checks, "engine_of", lambda name: Engine())
    monkeypatch.setattr(card_checks, "CALLS", 300)
    monkeypatch.setattr(card_checks, "SHAPES", 4)
    with pytest.raises(WrongError, match=r"25 MiB of the card"):
        card_checks.leaks("cuda", tmp_path)


def test_a_sanitizer_that_is_not_there_is_no_failure(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotRunError, match="compute-sanitizer is not on the path"):
        card_checks.sanitized(tmp_path)


@pytest.mark.parametrize(
    ("code", "error"),
    [(5, NotRunError), (1, WrongError)],
    ids=["no test", "a test that failed"],
)
def test_the_marked_tests_end_is_read(tmp_path, monkeypatch, code, error):
    from types import SimpleNamespace

    ended = SimpleNamespace(returncode=code, stdout="1 failed, 3 passed\n")
    monkeypatch.setattr(card_checks.subprocess, "run", lambda *_, **__: ended)
    with pytest.raises(error):
        card_checks.marked_tests(tmp_path)
    ended.returncode = 0
    assert card_checks.marked_tests(tmp_path) == {"summary": "1 failed, 3 passed"}
