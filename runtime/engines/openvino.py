"""OpenVINO on the CPU.

A graph is compiled for the shapes of its first run. Compared with a graph of open shapes, it uses a fifth less memory
(the AFHQ generator at 256 px: 432 MB instead of 537 in float32, 255 instead of 319 in int8), and is about 5 % faster in
bf16 and int8, and up to 10 % for the smallest networks at 64 px. StyleGAN2 at 256 px takes 14 % less time in float32,
and 17 to 20 % less in bf16. If images of another size follow, a graph of open shapes replaces it, so that a folder of
many sizes compiles twice, not once per size.

If only the batch changes, the shapes stay fixed. A larger batch recompiles the graph. A smaller one, such as the last
of a run, is padded; after four padded batches in a row, the graph is recompiled for the next one's size. If either
batch has more than 16 images, a graph of open shapes is used instead.

Compiled graphs are not cached on disk: OpenVINO's own format stores a second copy of the weights, and took longer to
read than the graph takes to compile.
"""

from __future__ import annotations

import importlib
import io
import sys
import threading
from collections.abc import Mapping
from functools import cache as once
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.errors import EngineError
from starcast.runtime.engines import forks
from starcast.runtime.engines.base import (
    Absence,
    Arrays,
    Engine,
    EngineOptions,
    Graph,
    Session,
    closed_error,
    one_line,
    package_absence,
)
from starcast.runtime.machine import processor
from starcast.runtime.manifest_bounds import Shape
from starcast.runtime.variants import Variant

_TELEMETRY = "openvino_telemetry"
MOST_PADDED = 16  # images of a batch that smaller ones are padded to; above, compiling could cost less
PATIENCE = 4  # smaller batches in a row that are padded before the graph is compiled for their size
_importing = threading.Lock()
Shapes = Mapping[str, tuple[int, ...]]  # of the inputs, by name


def engine() -> ModuleType:
    """Import the package openvino. Raises ImportError.

    Importing it sends an event to its vendor and leaves an identifier in the user's home, unless its telemetry package
    cannot be imported. So we make that import fail: openvino then uses an empty stand-in.
    """
    if "openvino" in sys.modules:
        return sys.modules["openvino"] or importlib.import_module("openvino")
    with _importing:
        known = sys.modules.get(_TELEMETRY)
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # the import system reads None as "not found"
        try:
            return importlib.import_module("openvino")
        finally:
            if known is None:
                del sys.modules[_TELEMETRY]
            else:
                sys.modules[_TELEMETRY] = known


class OpenVINO(Engine):
    """Opens ONNX graphs with OpenVINO's CPU plug-in."""

    name = "openvino"
    extra = "openvino"
    after_fork = "never works"  # TBB

    def absent(self) -> Absence | None:
        reason = forks.why_not(self.name, self.after_fork)
        if reason is not None:
            return Absence(reason, pip_helps=False)
        absence = package_absence(engine, "openvino", "Core")
        if absence is None and "CPU" not in _core().available_devices:
            return Absence("installed, but without its CPU plug-in", pip_helps=False)
        return absence

    def why_unsupported(self, variant: Variant) -> str | None:
        return super().why_unsupported(variant) or lacks(variant.precision, variant.rest)

    def version(self) -> str:
        return str(engine().__version__).partition("-")[0]

    def devices(self, graph: bytes) -> Mapping[str, str | None]:
        found: dict[str, str | None] = {}
        for device in _core().available_devices:
            try:
                _core().compile_model(_core().read_model(io.BytesIO(graph)), device)
            except RuntimeError as error:
                found[device] = one_line(error)
            else:
                found[device] = None
        return found

    def best_batch(self, precision: str) -> int:
        """4 in bf16 and int8, where it was 5 to 10 % faster than 1 on two cores; 1 in float32, where it was no faster
        (benchmarks/results/scaling.json)."""
        return 1 if precision == "fp32" else 4

    def open(self, graph: Graph, options: EngineOptions) -> Session:
        self.note_use()
        lacking = lacks(graph.precision, graph.rest)
        if lacking is not None:
            raise EngineError(f"{graph.path} cannot be run in {graph.precision} here ({lacking}): use --precision fp32")
        return OpenVINOSession(graph, options)


def lacks(*precisions: str | None) -> str | None:
    """Why OpenVINO cannot run a graph in those precisions on this CPU, or None. Without bfloat16 instructions, OpenVINO
    would silently use float32."""
    if "bf16" not in precisions or "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return None
    return f"{processor().name} has no bfloat16 instructions"


class OpenVINOSession(Session):
    """One graph, compiled when it is first run. Raises EngineError where OpenVINO cannot read it."""

    def __init__(self, graph: Graph, options: EngineOptions) -> None:
        self._graph = graph.path
        self._settings = _settings(graph, options)
        self._model = self._read()
        self._shapes: Shapes | None = None  # shapes that the graph is compiled for; {}: any
        self._request: Any = None
        self._padded = 0  # batches padded since the last whole one

    def run(self, feeds: Arrays) -> NDArray[Any]:
        if self._model is None:
            raise closed_error(self._graph)
        shapes = {name: feed.shape for name, feed in feeds.items()}
        rows = _rows(shapes)
        try:
            self._prepare(shapes, rows)
            if self._shapes and self._shapes != shapes:
                feeds = {name: _pad(feed, self._shapes[name][0]) for name, feed in feeds.items()}
            output: NDArray[Any] = self._request.infer(dict(feeds), share_inputs=True)[0][:rows]
        except (RuntimeError, ValueError) as error:
            raise EngineError(
                f"OpenVINO failed in {self._graph} ({one_line(error)}): try a smaller batch, or another --backend"
            ) from error
        return output

    def inputs(self) -> Mapping[str, Shape]:
        if self._model is None:
            raise closed_error(self._graph)
        ranked = [value for value in self._model.inputs if value.partial_shape.rank.is_static]
        return {
            value.any_name: tuple(None if length.is_dynamic else length.get_length() for length in value.partial_shape)
            for value in ranked
        }

    def close(self) -> None:
        self._request = self._model = None

    def _read(self) -> Any:
        try:
            return _core().read_model(str(self._graph))
        except (RuntimeError, OSError) as error:
            raise EngineError(
                f"{self._graph} is refused by OpenVINO {engine().__version__} ({one_line(error)}): "
                "try --backend onnxruntime, or export the bundle again"
            ) from error

    def _prepare(self, shapes: Shapes, rows: int) -> None:
        """Compile the graph, if needed, for these shapes or for open ones."""
        known = self._shapes
        if known is None:
            return self._compile(shapes)
        if not known or known == shapes:
            self._padded = 0
            return None
        if max(rows, _rows(known)) > MOST_PADDED or not _differ_in_rows(shapes, known):
            return self._compile({})
        if rows > _rows(known) or self._padded == PATIENCE:
            return self._compile(shapes)
        self._padded += 1
        return None

    def _compile(self, shapes: Shapes) -> None:
        self._request = None  # the previous one is freed first: both together would need twice the memory
        model = self._model.clone()
        if shapes:
            model.reshape(dict(shapes))
        self._request = _core().compile_model(model, "CPU", self._settings).create_infer_request()
        self._shapes, self._padded = shapes, 0


def _rows(shapes: Shapes) -> int:
    """The size of a batch. An input with one row is shared by all images."""
    return max(shape[0] for shape in shapes.values())


def _differ_in_rows(shapes: Shapes, known: Shapes) -> bool:
    """Whether the inputs differ only in the batch. A row shared by all images fits where each image had its own."""
    rows, most = _rows(shapes), _rows(known)
    return all(
        shape[1:] == known[name][1:] and (shape[0], known[name][0]) in {(rows, most), (1, most), (1, 1)}
        for name, shape in shapes.items()
    )


def _pad(feed: NDArray[Any], rows: int) -> NDArray[Any]:
    """The input, padded to `rows` rows by repeating its last one."""
    if len(feed) == rows:
        return feed
    return np.concatenate([feed, np.broadcast_to(feed[-1:], (rows - len(feed), *feed.shape[1:]))])


def _settings(graph: Graph, options: EngineOptions) -> dict[str, Any]:
    settings: dict[str, Any] = {
        # All threads work on one batch. One stream per core gave 2 to 5 % more images a second on two idle cores, but
        # each image took twice as long, and two threads in one model have deadlocked.
        "PERFORMANCE_HINT": "LATENCY",
        # Pinned threads compete with a container's other processes, and with the threads that decode and encode.
        "ENABLE_CPU_PINNING": False,
        # Number of compiled kernels to cache, each for one layer and image size. With the default of 5,000, a 64 px
        # model used 1.7 MB more with every new size. 256 are enough for images that alternate between two sizes.
        "CPU_RUNTIME_CACHE_CAPACITY": "256",
    }
    threads = options.count_threads()
    if threads is not None:  # by default OpenVINO counts the machine's cores and ignores a container's quota
        settings["INFERENCE_NUM_THREADS"] = threads
    # Without this, float32 silently becomes bfloat16 on CPUs with AMX, unless the graph states the type.
    settings["INFERENCE_PRECISION_HINT"] = "bf16" if "bf16" in (graph.precision, graph.rest) else "f32"
    return settings


@once
def _core() -> Any:
    return engine().Core()
