"""Compile an ONNX file to an engine, with the API that both TensorRT distributions share. Runs only in the child
process.

TensorRT's own parser reads the graph by its path, so that it finds the weights beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from starcast.errors import EngineError
from starcast.runtime.engines.base import one_line
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS, error_log
from starcast.runtime.nvidia.tensorrt.messages import Request
from starcast.runtime.nvidia.tensorrt.profiles import Profile


class Phases:
    """Progress through nested phases, each with a number of steps, as one number, which never falls, even if phases
    come unannounced."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[int, int]] = {}  # by name, the outermost first: steps done, steps in total
        self._done = 0.0

    def start(self, name: str, steps: int) -> None:
        self._open[name] = (0, max(steps, 1))

    def step(self, name: str, number: int) -> None:
        if name in self._open:
            steps = self._open[name][1]
            self._open[name] = (min(number + 1, steps), steps)

    def finish(self, name: str) -> None:
        self._open.pop(name, None)

    def done(self) -> float:
        """The share done, from 0 to 1. A step that contains a phase counts as far as that phase is done."""
        share, total = 1.0, 0.0
        for steps_done, steps in self._open.values():
            total += share * steps_done / steps
            share /= steps
        self._done = max(self._done, min(total, 1.0))
        return self._done


def compile_engine(
    trt: Any,
    request: Request,
    timings: bytes | None = None,
    progress: Callable[[float], None] = lambda done: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[Any, bytes | None]:
    """Compile an engine. Returns it as a buffer, and the kernel timings: those given and those measured now.

    Raises EngineError, worded as a clause, if the library refuses the graph or the build, or if `cancelled` stops it.
    """
    flavour = FLAVOURS[request.flavour]
    log = error_log(trt)
    if request.plugin:
        from starcast.runtime.nvidia.tensorrt.plugin import register

        register(trt)
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # raised by the bindings where CUDA does not start
        raise EngineError(f"it does not start: {_strip_places(log.first_error())}") from error
    network = builder.create_network(_flags(trt, request))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(request.graph):
        raise EngineError(f"it does not take the graph: {_refusal(parser, log)}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default; keeps 10 of 23 mantissa bits: too few for the fp32 gate
    # kernels keep the names of the nodes that they compute
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    monitor = _monitor(trt, progress, cancelled)
    config.progress_monitor = monitor
    if request.target is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, request.target.upper()), 0)
    config.add_optimization_profile(_profile(builder, network, request.inputs))
    if not flavour.ahead_of_time:
        config.set_timing_cache(config.create_timing_cache(timings or b""), False)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise EngineError("it was stopped" if cancelled() else _strip_places(log.first_error()))
    measured = None if flavour.ahead_of_time else config.get_timing_cache()
    return engine, None if measured is None else bytes(measured.serialize())


def _flags(trt: Any, request: Request) -> int:
    """The creation flags. The graph states all types: TensorRT 10 needs a flag for that, the others ignore it."""
    names = ["STRONGLY_TYPED", *(["PREFER_AOT_PYTHON_PLUGINS"] if request.plugin else [])]
    return sum(1 << int(getattr(trt.NetworkDefinitionCreationFlag, name)) for name in names)


def _profile(builder: Any, network: Any, inputs: dict[str, Profile]) -> Any:
    profile = builder.create_optimization_profile()
    for number in range(network.num_inputs):
        name = network.get_input(number).name
        if name not in inputs:
            raise EngineError(f"the graph has the input {name!r}, which this starcast does not know")
        profile.set_shape(name, *inputs[name])
    return profile


def _refusal(parser: Any, log: Any) -> str:
    """The parser's first error, with the node that it is about."""
    if not parser.num_errors:
        return _strip_places(log.first_error())
    error = parser.get_error(0)
    node = " ".join(filter(None, (error.node_operator(), error.node_name())))
    return _strip_places(f"{node}: {error.desc()}" if node else error.desc())


def _strip_places(text: str) -> str:
    """An error's text, without locations in the library's source."""
    told = re.sub(r"^IBuilder::\w+: Error Code \d+: |\s*In \S+ at /\S+\)?$", "", " ".join(text.split()))
    return one_line(told)


def _monitor(trt: Any, progress: Callable[[float], None], cancelled: Callable[[], bool]) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # a class of the library
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.phases = Phases()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.phases.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self.phases.step(phase_name, step)
            progress(self.phases.done())
            return not cancelled()

        def phase_finish(self, phase_name: str) -> None:
            self.phases.finish(phase_name)

    return Monitor()
