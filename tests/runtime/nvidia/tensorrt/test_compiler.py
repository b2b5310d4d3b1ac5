"""What the library is told, against a recording of TensorRT proper that is held to the real wheel's signatures."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import recorded_tensorrt
from hypothesis import given
from hypothesis import strategies as st
from tensorrt_bundle import GRAPH, with_tensorrt_graph

from starcast.errors import EngineError
from starcast.runtime.nvidia.tensorrt.compiler import Phases, compile_engine
from starcast.runtime.nvidia.tensorrt.messages import Request

INPUTS = {"image": ((1, 32, 32, 3), (4, 32, 32, 3), (8, 32, 32, 3)), "style": ((1, 8), (4, 8), (8, 8))}


@pytest.fixture
def graph(tmp_path, tiny_bundle) -> Path:
    return with_tensorrt_graph(tiny_bundle, tmp_path / "B") / GRAPH


@pytest.fixture(autouse=True)
def attempt(monkeypatch) -> Callable[[str], None]:
    monkeypatch.delenv("ATTEMPT", raising=False)
    return lambda how: monkeypatch.setenv("ATTEMPT", how)


def _request(graph: Path, flavour: str = "tensorrt", **changes: Any) -> Request:
    return Request(flavour=flavour, graph=str(graph), output="", inputs=INPUTS, **changes)


def _told(engine: Any) -> dict[str, Any]:
    return dict(json.loads(bytes(engine)))


def test_full_tensorrt_gets_the_graph_by_its_path_strongly_typed_with_the_profile(graph):
    engine, _ = compile_engine(recorded_tensorrt, _request(graph))
    told = _told(engine)
    assert told["flags"] == 1 << recorded_tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert told["graph"] == str(graph)
    assert told["shapes"] == json.loads(json.dumps(INPUTS))
    assert told["exact"]
    assert told["verbosity"] == recorded_tensorrt.ProfilingVerbosity.DETAILED


def test_what_was_timed_is_used_again(graph):
    engine, first = compile_engine(recorded_tensorrt, _request(graph))
    assert _told(engine)["timings"] == ""
    engine, second = compile_engine(recorded_tensorrt, _request(graph), first)
    assert _told(engine)["timings"] == "measured;"
    assert second == b"measured;measured;"


def test_a_graph_with_the_kernel_gets_it_registered_and_ahead_of_time(graph, monkeypatch):
    plugin = ModuleType("plugin")
    registered = []
    plugin.register = registered.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "starcast.runtime.nvidia.tensorrt.plugin", plugin)
    engine, _ = compile_engine(recorded_tensorrt, _request(graph, plugin=True))
    assert registered == [recorded_tensorrt]
    flags = recorded_tensorrt.NetworkDefinitionCreationFlag
    assert _told(engine)["flags"] == 1 << flags.STRONGLY_TYPED | 1 << flags.PREFER_AOT_PYTHON_PLUGINS


def test_a_graph_that_the_parser_refuses_is_told_with_the_node(graph, attempt):
    attempt("refuse")
    with pytest.raises(EngineError, match='it does not take the graph: AdainLeakyRelu norm.fused: creator && "Plugin'):
        compile_engine(recorded_tensorrt, _request(graph))


@pytest.mark.parametrize("line", ["[E] catchCudaError: 35, driver too old", "CUDA initialization failure: 35"])
def test_a_library_that_does_not_start_says_why_even_if_it_is_all_about_cuda(graph, monkeypatch, line):
    def builder(log: Any) -> None:
        log.log(recorded_tensorrt.ILogger.ERROR, line)
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(recorded_tensorrt, "Builder", builder)
    with pytest.raises(EngineError) as caught:
        compile_engine(recorded_tensorrt, _request(graph))
    assert str(caught.value) == f"it does not start: {line}"


def test_an_input_that_is_not_known_is_an_error(graph):
    request = Request(flavour="tensorrt", graph=str(graph), output="", inputs={"image": INPUTS["image"]})
    with pytest.raises(EngineError, match="the input 'style', which this starcast does not know"):
        compile_engine(recorded_tensorrt, request)


def test_a_build_that_is_not_wanted_any_more_stops_at_the_next_step(graph):
    steps: list[float] = []
    with pytest.raises(EngineError, match="it was stopped"):
        compile_engine(recorded_tensorrt, _request(graph), progress=steps.append, cancelled=lambda: len(steps) == 2)
    assert steps == [0.25, 0.5]


def test_tensorrt_for_rtx_builds_the_same_request_for_a_generation(graph):
    trt = pytest.importorskip("tensorrt_rtx")
    steps: list[float] = []
    engine, timings = compile_engine(trt, _request(graph, "tensorrt-rtx", target="sm86"), progress=steps.append)
    assert timings is None
    assert b"accelerators={sm86 }" in bytes(engine)
    assert steps == sorted(steps)
    assert 0 <= steps[0] < steps[-1] <= 1


def test_tensorrt_for_rtx_stops_when_asked(graph):
    trt = pytest.importorskip("tensorrt_rtx")
    with pytest.raises(EngineError, match="it was stopped"):
        compile_engine(trt, _request(graph, "tensorrt-rtx", target="sm86"), cancelled=lambda: True)


def test_tensorrt_for_rtx_says_what_is_wrong_with_a_graph(tmp_path):
    trt = pytest.importorskip("tensorrt_rtx")
    (tmp_path / "x.onnx").write_bytes(b"garbage" * 10)
    with pytest.raises(EngineError, match="Failed to parse the ONNX model"):
        compile_engine(trt, _request(tmp_path / "x.onnx", "tensorrt-rtx", target="sm86"))


def test_tensorrt_for_rtx_says_what_is_wrong_with_a_profile(graph):
    trt = pytest.importorskip("tensorrt_rtx")
    inputs = INPUTS | {"style": ((1, 9), (1, 9), (1, 9))}  # the graph has 8
    request = Request(flavour="tensorrt-rtx", graph=str(graph), output="", inputs=inputs, target="sm86")
    with pytest.raises(EngineError) as caught:
        compile_engine(trt, request)
    assert "style" in str(caught.value)
    assert "CUDA" not in str(caught.value)  # the driver's absence is not the reason


@pytest.mark.parametrize("name", [
    "Builder.create_network", "Builder.create_builder_config", "Builder.create_optimization_profile",
    "Builder.build_serialized_network", "OnnxParser.parse_from_file", "OnnxParser.get_error", "ParserError.desc",
    "ParserError.node_name", "ParserError.node_operator", "IOptimizationProfile.set_shape",
    "IBuilderConfig.add_optimization_profile", "IBuilderConfig.create_timing_cache", "IBuilderConfig.set_timing_cache",
    "IBuilderConfig.get_timing_cache", "IBuilderConfig.clear_flag", "ITimingCache.serialize",
    "INetworkDefinition.get_input", "IProgressMonitor.phase_start", "IProgressMonitor.step_complete",
    "IProgressMonitor.phase_finish", "ILogger.log",
])  # fmt: skip
def test_the_recording_takes_the_parameters_of_the_real_bindings(name):
    trt = pytest.importorskip("tensorrt_rtx")
    owner, method = name.split(".")
    ours = inspect.signature(getattr(getattr(recorded_tensorrt, owner), method))
    [theirs, *_] = getattr(getattr(trt, owner), method).__doc__.splitlines()  # as pybind11 writes it
    told = [part.partition(":")[0].strip() for part in theirs[theirs.index("(") + 1 : theirs.rindex(")")].split(", ")]
    assert [parameter for parameter in told if parameter.isidentifier()] == list(ours.parameters)


@given(
    st.lists(
        st.tuples(st.sampled_from(["start", "step", "finish"]), st.sampled_from("abc"), st.integers(0, 5)), max_size=40
    )
)
def test_progress_never_falls_and_stays_between_0_and_1(events):
    phases, seen = Phases(), [0.0]
    for event, name, number in events:
        if event == "start":
            phases.start(name, number)
        elif event == "step":
            phases.step(name, number)
        else:
            phases.finish(name)
        seen.append(phases.done())
    assert seen == sorted(seen)
    assert seen[-1] <= 1


def test_a_phase_within_a_phase_fills_the_step_that_it_is_in():
    phases = Phases()
    phases.start("building", 4)
    phases.step("building", 0)
    phases.start("optimising", 10)
    phases.step("optimising", 4)
    assert phases.done() == pytest.approx(1 / 4 + 5 / 10 / 4)
    phases.finish("optimising")
    phases.step("building", 1)
    assert phases.done() == pytest.approx(2 / 4)
