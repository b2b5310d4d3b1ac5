"""Builds in a process of their own, with the recording of TensorRT in the library's place: it can be made to crash."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import recorded_tensorrt
from tensorrt_bundle import GRAPH, with_tensorrt_graph

from starcast.errors import EngineError
from starcast.runtime.nvidia.tensorrt.child import reachable
from starcast.runtime.nvidia.tensorrt.child_process import COMMAND, build_in_child
from starcast.runtime.nvidia.tensorrt.messages import Request

INPUTS = {"image": ((1, 32, 32, 3), (4, 32, 32, 3), (8, 32, 32, 3)), "style": ((1, 8), (4, 8), (8, 8))}


@pytest.fixture
def request_for(tmp_path, tiny_bundle) -> Callable[..., Request]:
    graph = with_tensorrt_graph(tiny_bundle, tmp_path / "B") / GRAPH

    def make(flavour: str = "tensorrt", **changes: object) -> Request:
        facts = {"graph": str(graph), "output": str(tmp_path / "out.engine"), "inputs": INPUTS} | changes
        return Request(flavour=flavour, **facts)

    return make


@pytest.fixture
def attempt(tmp_path, monkeypatch) -> Callable[[str], None]:
    """A function that says how the build goes; from here on children import the recording as `tensorrt`."""
    shutil.copy(recorded_tensorrt.__file__, tmp_path / "tensorrt.py")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return lambda how: monkeypatch.setenv("ATTEMPT", how)


def test_the_engine_is_what_the_library_made_and_progress_rises(tmp_path, request_for, attempt):
    attempt("")
    seen: list[float] = []
    seconds = build_in_child(request_for(timings=str(tmp_path / "timings")), seen.append)
    assert seconds > 0
    assert json.loads((tmp_path / "out.engine").read_bytes())["shapes"] == json.loads(json.dumps(INPUTS))
    assert seen == sorted(seen)
    assert seen


@pytest.mark.parametrize(("folder", "windows", "goes"), [
    ("Jörg", True, True), ("Jorg", True, False), ("Jörg", False, False),
])  # fmt: skip
def test_on_windows_a_folder_that_no_code_page_spells_is_gone_to(tmp_path, monkeypatch, folder, windows, goes):
    graph = tmp_path / folder / "taps16.onnx"
    graph.parent.mkdir()
    monkeypatch.chdir(tmp_path)
    assert reachable(graph, windows=windows) == ("taps16.onnx" if goes else str(graph))
    assert Path.cwd() == (graph.parent if goes else tmp_path)


def test_an_engine_is_built_of_a_graph_and_to_a_place_that_are_named_from_here(
    tmp_path, request_for, attempt, monkeypatch
):
    attempt("")
    monkeypatch.chdir(tmp_path)
    build_in_child(request_for(graph=f"B/{GRAPH}", output="out.engine", timings="timings"))
    assert (tmp_path / "out.engine").exists()
    assert (tmp_path / "timings").exists()


def test_what_was_timed_is_kept_for_the_next_build(tmp_path, request_for, attempt):
    attempt("")
    request = request_for(timings=str(tmp_path / "timings"))
    build_in_child(request)
    build_in_child(request)
    assert json.loads((tmp_path / "out.engine").read_bytes())["timings"] == "measured;"


def test_damaged_timings_are_not_given_to_the_library(tmp_path, request_for, attempt):
    attempt("")
    (tmp_path / "timings").write_bytes(b"not sealed")
    build_in_child(request_for(timings=str(tmp_path / "timings")))
    assert json.loads((tmp_path / "out.engine").read_bytes())["timings"] == ""


def test_what_the_library_prints_is_no_answer(tmp_path, request_for, attempt):
    attempt("print")
    assert build_in_child(request_for()) > 0
    assert (tmp_path / "out.engine").exists()


@pytest.mark.parametrize(("how", "said"), [
    ("refuse", 'it does not take the graph: AdainLeakyRelu norm.fused: creator && "Plugin not found"'),
    ("exit", "the compiler ended with status 3 and without an engine: terminate called after throwing an instance of "
             "'std::bad_alloc'"),
    ("silent", "the compiler ended with status 0 and without an engine"),
])  # fmt: skip
def test_a_build_that_fails_says_why(tmp_path, request_for, attempt, how, said):
    attempt(how)
    with pytest.raises(EngineError) as caught:
        build_in_child(request_for())
    assert str(caught.value) == said
    assert not (tmp_path / "out.engine").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals are Unix's")
def test_a_crash_is_an_error_with_the_last_thing_that_was_said(request_for, attempt):
    attempt("crash")
    with pytest.raises(EngineError) as caught:
        build_in_child(request_for())
    expected = "the compiler ended with SIGSEGV and without an engine: CHECK(status == CUDA_SUCCESS)"
    assert str(caught.value) == expected


def test_a_flavour_that_is_not_installed_is_told_by_the_child(tmp_path, request_for, attempt):
    attempt("")
    (tmp_path / "tensorrt.py").write_text("raise ModuleNotFoundError('no', name='tensorrt')")
    with pytest.raises(EngineError, match=r"starcast\[tensorrt\]"):
        build_in_child(request_for())


def test_a_library_that_hangs_is_ended(request_for, attempt):
    attempt("hang")
    with pytest.raises(EngineError, match="wrote nothing for 3 s, and was ended"):
        build_in_child(request_for(), silence=3)


@pytest.fixture
def children(monkeypatch) -> list[subprocess.Popen[bytes]]:
    """The processes that are started from here on."""
    started, kept = subprocess.Popen, []

    def start(*arguments: object, **settings: object) -> subprocess.Popen[bytes]:
        kept.append(started(*arguments, **settings))
        return kept[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    return kept


def test_an_interrupt_stops_the_build_at_its_next_step(tmp_path, request_for, attempt, children):
    attempt("slow")

    def interrupt(done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_in_child(request_for(), interrupt)
    assert [child.returncode for child in children] == [0]
    assert not (tmp_path / "out.engine").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="timers are Unix's")
def test_an_interrupt_kills_a_build_that_does_not_stop(tmp_path, request_for, attempt, children, monkeypatch):
    attempt("hang")

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 2.0)
    try:
        with pytest.raises(KeyboardInterrupt):
            build_in_child(request_for())
    finally:
        signal.signal(signal.SIGALRM, before)
    assert [child.returncode for child in children] == [-signal.SIGKILL]
    assert not (tmp_path / "out.engine").exists()


def test_a_child_whose_parent_has_gone_gives_up(tmp_path, request_for, attempt):
    """Its stdin ends, as when the parent was killed."""
    attempt("slow")
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, _ = process.communicate(msgspec.json.encode(request_for()) + b"\n", timeout=60)
    assert process.returncode == 0
    assert b"it was stopped" in out.splitlines()[-1]
    assert not (tmp_path / "out.engine").exists()


def test_the_child_does_not_import_from_the_current_folder(tmp_path, request_for, attempt, monkeypatch):
    attempt("")
    (tmp_path / "cwd").mkdir()
    (tmp_path / "cwd/msgspec.py").write_text("raise RuntimeError('imported from here')")
    monkeypatch.chdir(tmp_path / "cwd")
    assert build_in_child(request_for()) > 0


def test_the_real_library_builds_in_a_child(tmp_path, request_for):
    pytest.importorskip("tensorrt_rtx")
    build_in_child(request_for("tensorrt-rtx", target="sm120"))
    assert b"accelerators={sm120 }" in (tmp_path / "out.engine").read_bytes()
