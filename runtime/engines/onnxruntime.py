"""ONNX Runtime on the CPU."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from starcast.errors import EngineError
from starcast.leftovers import temporary_folder
from starcast.runtime.engines import cache
from starcast.runtime.engines.base import (
    Absence,
    Arrays,
    Engine,
    EngineOptions,
    Graph,
    Session,
    changed_environment,
    closed_error,
    one_line,
    package_absence,
)
from starcast.runtime.manifest_bounds import Shape
from starcast.utf8 import utf8_path

_TELEMETRY = "ORT_DISABLE_TELEMETRY"
PROVIDER = "CPUExecutionProvider"
WARNINGS, NOTHING = 2, 4  # log levels; the first is the library's default, and the second logs only crashes


class OnnxRuntime(Engine):
    """Opens ONNX graphs with ONNX Runtime's CPU provider."""

    name = "onnxruntime"
    extra = "cpu"
    after_fork = "works"  # each of its sessions has its own threads

    def absent(self) -> Absence | None:
        return package_absence(engine, "onnxruntime", "InferenceSession")

    def version(self) -> str:
        return str(engine().__version__)

    def devices(self, graph: bytes) -> Mapping[str, str | None]:
        try:
            with silent():
                engine().InferenceSession(graph, providers=[PROVIDER])
        except errors() as error:
            return {"CPU": one_line(error)}
        return {"CPU": None}

    def open(self, graph: Graph, options: EngineOptions) -> Session:
        path = graph.path
        onnxruntime = engine()
        try:
            session = None
            if graph.digest is not None and graph.bytes >= cache.SMALLEST:
                facts = (graph.digest, self.name, onnxruntime.__version__)
                session = cache.open_cached(
                    options.cache, facts, lambda: _optimise(path, options),
                    lambda held: _load(held, path.parent, options), errors(),
                )  # fmt: skip
            return OnnxRuntimeSession(path, session or _session(path, options))
        except errors() as error:
            raise EngineError(
                f"{path} is refused by ONNX Runtime {onnxruntime.__version__} ({one_line(error)}): "
                "export the bundle again, or update onnxruntime"
            ) from error


class OnnxRuntimeSession(Session):
    """One graph, compiled."""

    def __init__(self, graph: Path, session: Any) -> None:
        self._graph = graph
        self._session = session

    def run(self, feeds: Arrays) -> NDArray[Any]:
        if self._session is None:
            raise closed_error(self._graph)
        try:
            output: NDArray[Any] = self._session.run(None, dict(feeds))[0]
        except errors() as error:
            raise EngineError(
                f"ONNX Runtime failed in {self._graph} ({one_line(error)}): try a smaller batch, or another --backend"
            ) from error
        return output

    def inputs(self) -> Mapping[str, Shape]:
        if self._session is None:
            raise closed_error(self._graph)
        return {
            value.name: tuple(length if isinstance(length, int) else None for length in value.shape)
            for value in self._session.get_inputs()
        }

    def close(self) -> None:
        self._session = None


def engine() -> Any:
    """Import the package onnxruntime. Raises ImportError. Nothing else in starcast imports it.

    Without the variable, its import stores an identifier of the machine and an event in the user's cache, to be sent to
    its vendor. It reads the variable only then.
    """
    if "onnxruntime" in sys.modules:
        return importlib.import_module("onnxruntime")
    with changed_environment(_TELEMETRY, "1"):
        package = importlib.import_module("onnxruntime")
    if hasattr(package, "disable_telemetry_events"):  # a broken package may be an empty folder
        package.disable_telemetry_events()  # of Windows itself, which the variable does not stop
    return package


@contextmanager
def silent() -> Iterator[None]:
    """Stop the library, within the block, from printing that a provider does not start: our error says so.

    A session's log level takes effect too late for that. The level that a host program had set cannot be read, so the
    default is restored.
    """
    engine().set_default_logger_severity(NOTHING)
    try:
        yield
    finally:
        engine().set_default_logger_severity(WARNINGS)


def _session(
    graph: Path | bytes, options: EngineOptions, entries: Mapping[str, str] | None = None, **settings: Any
) -> Any:
    onnxruntime = engine()
    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = options.count_threads() or 0  # 0: ONNX Runtime chooses
    chosen.inter_op_num_threads = 1  # the graphs are chains: nothing runs in parallel
    # spinning threads take the cores from those that decode and encode; when measured, they were also slower
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chosen.log_severity_level = NOTHING  # errors are raised as well
    for entry, text in (entries or {}).items():
        chosen.add_session_config_entry(entry, text)
    for name, value in settings.items():
        setattr(chosen, name, value)
    if isinstance(graph, bytes):
        return onnxruntime.InferenceSession(graph, chosen, providers=[PROVIDER])
    with utf8_path(graph) as path:
        return onnxruntime.InferenceSession(str(path), chosen, providers=[PROVIDER])


def _optimise(graph: Path, options: EngineOptions) -> bytes:
    """The graph after ONNX Runtime's own passes, in the memory layout that suits this CPU."""
    with temporary_folder() as folder:
        file = folder / "optimised.onnx"
        _session(graph, options, optimized_model_filepath=str(file))
        return file.read_bytes()


def _load(optimised: bytes, weights: Path, options: EngineOptions) -> Any:
    """A session of the graph from `_optimise`. Weights that no pass has changed are still in the folder `weights`."""
    with utf8_path(weights) as folder:
        return _session(
            optimised, options, {"session.model_external_initializers_file_folder_path": str(folder)},
            graph_optimization_level=engine().GraphOptimizationLevel.ORT_DISABLE_ALL,
        )  # fmt: skip


def errors() -> tuple[type[Exception], ...]:
    """The exceptions that ONNX Runtime raises; its own classes share no base but Exception."""
    engine()
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    own = (state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NotImplemented,
           state.RuntimeException, state.NoSuchFile, state.NoModel, state.EPFail, state.EngineError,
           state.ModelLoaded)  # fmt: skip
    return (*own, RuntimeError, ValueError, OSError, MemoryError)
