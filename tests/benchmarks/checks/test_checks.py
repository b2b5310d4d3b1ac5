"""The checks themselves, as far as a machine without a card goes: their graphs, their truth, and a card of numpy."""

from __future__ import annotations

import shutil
import threading
from collections import Counter, OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from starcast.benchmarks.checks import checks as card_checks
from starcast.benchmarks.checks.checks import (
    BETA,
    CHANNELS,
    CHECKS,
    GAMMA,
    PREPARE,
    SIDE,
    NotRunError,
    WrongError,
    checkerboard,
    checkerboard_truth,
)
from starcast.errors import BundleError, EngineError, OptionError
from starcast.runtime.nvidia.tensorrt.execution import MOST_SHAPES
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS, Flavour


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

    from starcast.runtime.nvidia import cuda_python, gpu

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


def of_the_leak_check(monkeypatch, *, calls: int, shapes: int) -> None:
    monkeypatch.setattr(card_checks, "CALLS", calls)
    monkeypatch.setattr(card_checks, "SHAPES", shapes)


def test_calls_and_shapes_that_keep_nothing_pass_the_leak_check(card, tmp_path, monkeypatch):
    of_the_leak_check(monkeypatch, calls=300, shapes=12)
    figures = card_checks.leaks("tensorrt-rtx", tmp_path)
    assert (figures["calls"], figures["shapes"], figures["card"]) == (300, 12, 0)
    assert Counter(run[2] for run in card.trt.runs) == dict.fromkeys(range(1, 13), 2 * 3 + 25)
    assert card.leaks() == []


def test_both_marks_of_the_leak_check_see_all_the_cuda_graphs_that_are_kept(card, tmp_path, monkeypatch):
    from fake_tensorrt import FakeTensorRT

    from starcast.runtime.nvidia.cuda_python import CudaPython

    of_the_leak_check(monkeypatch, calls=80, shapes=MOST_SHAPES + 4)
    monkeypatch.setattr(Flavour, "load", lambda self: FakeTensorRT(card, rtx=False))
    graphs, memory = [], CudaPython.memory

    def marked(driver):
        graphs.append(sum(kind == "executable" for kind, _ in card.held.values()))
        return memory(driver)

    monkeypatch.setattr(CudaPython, "memory", marked)
    card_checks.leaks("tensorrt", tmp_path)
    assert graphs == [MOST_SHAPES, MOST_SHAPES]


def test_memory_that_each_call_keeps_is_found(card, tmp_path, monkeypatch):
    of_the_leak_check(monkeypatch, calls=300, shapes=4)
    card_checks.open_driver()  # somebody else's: what leaks stays, as their context does
    run = card_checks.TensorRTSession.run

    def leaking(session, feeds):
        with session._driver.active():
            session._driver.allocate(100_000)
        return run(session, feeds)

    monkeypatch.setattr(card_checks.TensorRTSession, "run", leaking)
    with pytest.raises(WrongError, match=r"28 MiB of the card and \d+ MiB of the process are gone"):
        card_checks.leaks("tensorrt-rtx", tmp_path)


def test_the_torch_backend_keeps_nothing_of_calls_and_shapes(card, tmp_path, monkeypatch):
    monkeypatch.setattr(card_checks, "_torch_on_card", lambda: None)  # the processor stands in for the card
    of_the_leak_check(monkeypatch, calls=300, shapes=12)
    figures = card_checks.leaks("torch", tmp_path)
    assert (figures["calls"], figures["shapes"], figures["card"]) == (300, 12, 0)


class Engine:
    """An engine of its own, whose memory is the fake card's."""

    def __init__(self):
        self.driver = card_checks.open_driver()

    def open(self, graph, options):
        return self

    def allocate(self, size):
        with self.driver.active():
            return self.driver.allocate(size)

    def free(self, address):
        with self.driver.active():
            self.driver.free(address)

    def close(self):
        pass


@pytest.fixture
def engine_in_place(card, monkeypatch):
    def put(engine: Engine) -> None:
        monkeypatch.setattr(card_checks, "_present", lambda name: None)
        monkeypatch.setattr(card_checks, "_torch_on_card", lambda: None)
        monkeypatch.setattr(card_checks, "engine_of", lambda name: engine)
        monkeypatch.setattr(card_checks, "rss", lambda: 0)  # the fake card's memory is this process's

    return put


def test_what_another_engines_calls_keep_is_found(engine_in_place, tmp_path, monkeypatch):
    class Leaking(Engine):
        def run(self, feeds):
            assert feeds["x"].dtype == np.float32
            self.allocate(100_000)

    engine_in_place(Leaking())
    of_the_leak_check(monkeypatch, calls=300, shapes=4)
    with pytest.raises(WrongError, match=r"28 MiB of the card"):
        card_checks.leaks("cuda", tmp_path)


def test_the_records_of_the_last_shapes_are_no_leak(engine_in_place, tmp_path, monkeypatch):
    class Recording(Engine):
        """As the torch backend: the second run of a shape is recorded, and eight are kept."""

        def __init__(self):
            super().__init__()
            self.shapes = OrderedDict()  # None: it ran once, else where its record is

        def run(self, feeds):
            shape = feeds["x"].shape
            if shape in self.shapes:
                self.shapes[shape] = self.shapes[shape] or self.allocate(4 << 20)
                return
            self.shapes[shape] = None
            if len(self.shapes) > 8:
                _, record = self.shapes.popitem(last=False)
                if record is not None:
                    self.free(record)

    engine_in_place(Recording())
    of_the_leak_check(monkeypatch, calls=300, shapes=12)
    assert card_checks.leaks("torch", tmp_path)["card"] == 0


def test_what_torch_has_only_set_aside_is_no_leak(engine_in_place, tmp_path, monkeypatch):
    class Caching(Engine):
        def __init__(self):
            super().__init__()
            self.aside = []

        def run(self, feeds):
            self.aside.append(self.allocate(1 << 18))

        def give_back(self):
            while self.aside:
                self.free(self.aside.pop())

    engine = Caching()
    engine_in_place(engine)
    monkeypatch.setattr("torch.cuda.empty_cache", engine.give_back)
    of_the_leak_check(monkeypatch, calls=300, shapes=12)
    assert card_checks.leaks("torch", tmp_path)["card"] == 0


def test_what_is_compiled_beside_the_first_calls_is_no_leak(engine_in_place, tmp_path, monkeypatch):
    class Compiling(Engine):
        calls, kernels = 0, None

        def run(self, feeds):
            self.calls += 1
            if self.calls == 100:
                self.finish()

        def finish(self):
            self.kernels = self.kernels or self.allocate(32 << 20)

    engine = Compiling()
    engine_in_place(engine)
    monkeypatch.setattr(card_checks, "_rest", engine.finish)
    of_the_leak_check(monkeypatch, calls=300, shapes=12)
    assert card_checks.leaks("cuda", tmp_path)["card"] == 0


def test_what_is_compiled_beside_the_calls_is_waited_for():
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    compiles = threading.Thread(target=lambda: all(iter(lambda: not stop.is_set(), False)))
    compiles.start()
    card_checks._rest()
    assert stop.is_set()
    compiles.join()


def test_a_process_that_never_rests_is_waited_for_no_longer_than_allowed():
    stop = threading.Event()
    works = threading.Thread(target=lambda: all(iter(lambda: not stop.is_set(), False)))
    works.start()
    try:
        card_checks._rest(0.3)
    finally:
        stop.set()
        works.join()


@pytest.fixture
def to_compare(tmp_path, monkeypatch):
    """A folder with a bundle, whose comparison raises what is given."""
    from starcast.benchmarks.checks import parity as card_parity

    (tmp_path / card_parity.BUNDLE).mkdir()
    monkeypatch.setattr(card_checks, "_torch_on_card", lambda: None)

    def fails_with(error: Exception) -> Path:
        def compared(*_, **__):
            raise error

        monkeypatch.setattr(card_parity, "compared", compared)
        return tmp_path

    return fails_with


def test_parity_without_a_bundle_names_the_check_that_should_have_made_one(tmp_path, monkeypatch):
    monkeypatch.setattr(card_checks, "_torch_on_card", lambda: None)
    with pytest.raises(NotRunError, match=f"there is no bundle to compare with: see what became of `{PREPARE}`"):
        card_checks.parity("torch", "fp32", tmp_path)
    assert PREPARE in [check.name for check in CHECKS]


def test_a_precision_that_the_card_has_not_is_no_failure(to_compare):
    with pytest.raises(NotRunError, match="sm_86 has no fp8"):
        card_checks.parity("torch", "fp16", to_compare(OptionError("sm_86 has no fp8")))


@pytest.mark.parametrize("error", [BundleError("the bundle is damaged"), EngineError("no memory")], ids=str)
def test_a_damaged_bundle_and_a_run_that_fails_are_failures(to_compare, error):
    with pytest.raises(type(error), match=str(error)):
        card_checks.parity("torch", "fp16", to_compare(error))


def test_a_sanitizer_that_is_not_there_is_no_failure(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotRunError, match="compute-sanitizer is not on the path"):
        card_checks.sanitized(tmp_path)


CLEAN = {
    "memcheck": "========= COMPUTE-SANITIZER\n{ran}\n========= ERROR SUMMARY: 0 errors\n",
    "racecheck": "========= COMPUTE-SANITIZER\n{ran}\n"
    "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n",
}


@pytest.fixture
def sanitizer(monkeypatch):
    """A compute-sanitizer that ends with a status and says this, of which {ran} is the program's own; gives the
    commands that it gets."""
    monkeypatch.setattr(card_checks.shutil, "which", lambda name: f"/cuda/{name}")
    monkeypatch.setattr(card_checks, "_torch_on_card", lambda: None)

    def saying(status: int = 0, complaints: str = "", **said: str) -> list[list[str]]:
        commands = []

        def run(command, **_):
            commands.append(command)
            told = (CLEAN | said)[command[2]].format(ran=card_checks._ALL_RAN)
            return SimpleNamespace(returncode=status, stdout=told, stderr=complaints)

        monkeypatch.setattr(card_checks.subprocess, "run", run)
        return commands

    return saying


def test_a_kernel_that_both_tools_find_clean_passes(sanitizer, tmp_path):
    commands = sanitizer(complaints="UserWarning: a library's\n")
    assert card_checks.sanitized(tmp_path) == {"tools": ["memcheck", "racecheck"]}
    for command, tool in zip(commands, CLEAN, strict=True):
        assert command[:3] == ["/cuda/compute-sanitizer", "--tool", tool]
        assert "--report-api-errors no" in " ".join(command)
        assert f'print("{card_checks._ALL_RAN}")' in command[-1]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            {"status": 9, "memcheck": "========= Invalid __global__ read of size 2 bytes\n=========     at norm+0x80\n"
                                      "{ran}\n========= ERROR SUMMARY: 1 error\n"},
            "memcheck ended with status 9: Invalid __global__ read of size 2 bytes",
        ),
        ({"racecheck": "{ran}\n"}, "racecheck ended with status 0: every norm has run"),
        (
            {"memcheck": "========= Error: Target application terminated before first instrumented API call\n"},
            "memcheck ended with status 0: Error: Target application terminated before first instrumented API call",
        ),
        (
            {"memcheck": "========= COMPUTE-SANITIZER\n========= ERROR SUMMARY: 0 errors\n", "complaints": "no card\n"},
            "memcheck ended with status 0: no card",
        ),
    ],
    ids=["an error", "no summary", "nothing watched", "nothing run"],
)  # fmt: skip
def test_a_sanitizer_that_found_something_or_saw_nothing_has_failed(sanitizer, tmp_path, said, reason):
    sanitizer(**said)
    with pytest.raises(WrongError) as raised:
        card_checks.sanitized(tmp_path)
    assert str(raised.value) == reason


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with the project's own settings of pytest and these tests."""

    def of(tests: str) -> Path:
        shutil.copy(Path(__file__).parents[3] / "pyproject.toml", tmp_path)
        (tmp_path / "tests" / "room").mkdir(parents=True)
        (tmp_path / "tests" / "room" / "test_marked.py").write_text(
            "import warnings\nfrom pytest import mark\n" + tests
        )
        (tmp_path / "tests" / "test_broken.py").write_text("import of_a_package_that_is_not_here")
        monkeypatch.setattr(card_checks, "__file__", str(tmp_path / "benchmarks" / "checks" / "checks.py"))
        return tmp_path

    return of


def test_the_marked_tests_of_the_checkout_are_run_and_a_warning_fails_none(checkout):
    folder = checkout("@mark.gpu\ndef test_a(): warnings.warn('new')\n\ndef test_b(): assert False\n")
    assert card_checks.marked_tests(folder)["summary"].startswith("1 passed, 1 deselected, 1 warning in ")


def test_marked_tests_that_fail_are_named(checkout):
    folder = checkout("@mark.gpu\ndef test_a(): pass\n\n@mark.gpu\ndef test_b(): assert 1 == 2\n")
    with pytest.raises(WrongError, match=r"^1 failed, 1 passed in .*; FAILED tests/room/test_marked.py::test_b - ass"):
        card_checks.marked_tests(folder)


@pytest.mark.parametrize(
    ("tests", "reason"),
    [("@mark.gpu\n@mark.skip\ndef test_a(): pass\n", "1 skipped in"), ("# mark.gpu\n", "no test is marked gpu")],
    ids=["skipped", "none"],
)
def test_without_a_marked_test_that_ran_there_is_no_answer(checkout, tests, reason):
    with pytest.raises(NotRunError, match=reason):
        card_checks.marked_tests(checkout(tests))


def test_the_checkout_is_this_one_from_wherever_it_is_run(tmp_path, monkeypatch):
    commands = []

    def run(command, cwd, **_):
        commands.append((command, cwd))
        return SimpleNamespace(returncode=0, stdout="3 passed in 1s\n")

    monkeypatch.setattr(card_checks.subprocess, "run", run)
    monkeypatch.chdir(tmp_path)
    assert card_checks.marked_tests(tmp_path) == {"summary": "3 passed in 1s"}
    [(command, cwd)] = commands
    assert cwd == Path(__file__).parents[3]
    assert str(cwd / "tests" / "train" / "test_adain.py") in command


def test_an_installed_package_has_no_tests_to_run(tmp_path, monkeypatch):
    monkeypatch.setattr(card_checks, "__file__", str(tmp_path / "starcast" / "benchmarks" / "checks" / "checks.py"))
    with pytest.raises(NotRunError, match="this is no checkout"):
        card_checks.marked_tests(tmp_path)
