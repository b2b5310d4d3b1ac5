"""What an engine must offer. To add one: a module here and a line in the table of registry.py."""

from __future__ import annotations

import os
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from starcast.errors import EngineError
from starcast.runtime.bundle import Bundle
from starcast.runtime.cores import engine_threads
from starcast.runtime.engines import forks
from starcast.runtime.engines.forks import AfterFork
from starcast.runtime.manifest_bounds import Shape
from starcast.runtime.variants import Variant

Arrays = Mapping[str, NDArray[Any]]


class Absence(msgspec.Struct, frozen=True):
    """Why an engine cannot run on this machine, as a clause. `pip_helps`: installing its extra would change that; pip
    brings no GPU and no driver."""

    reason: str
    pip_helps: bool

    def __str__(self) -> str:
        return self.reason

    def remedy(self, install_line: str) -> str:
        """`: pip install …`, to follow the reason; empty where pip does not help."""
        return f": {install_line}" if self.pip_helps else ""


NOT_INSTALLED = Absence("not installed", pip_helps=True)


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Settings for every engine that a process opens.

    threads: number of compute threads; None: as many as the process may use (affinity and container quota), or half of
    them if `open_variant` measures that to be faster. memory: limit in bytes for what the engine holds and for
    translating one batch; None: no limit. free: bytes of memory that are free, by which `auto` leaves candidates out;
    None: it leaves none out. beside: the bundle's graphs that will be opened beside the variant, to make styles or to
    read labels; their memory is counted. cache: the folder for compiled models; None: the user's cache. remeasure:
    measure engines again, even if an earlier start did. progress: called with each line that a user should see.
    """

    threads: int | None = None
    memory: int | None = None
    free: int | None = None
    beside: tuple[str, ...] = ()
    cache: Path | None = None
    remeasure: bool = False
    progress: Callable[[str], None] = lambda line: None

    def count_threads(self) -> int | None:
        """The number of threads to request from an engine; None to let it choose, where it chooses better."""
        return self.threads or engine_threads()


class Graph(msgspec.Struct, frozen=True):
    """A graph to open.

    weights: the files beside it that hold its weights. digest: one hash for the graph and its weights; None: nothing is
    cached for it. bytes: size of both. bundle: its folder, for messages. precision, rest: those of its variant.
    """

    path: Path
    weights: tuple[Path, ...] = ()
    digest: str | None = None
    bytes: int = 0
    bundle: Path | None = None
    precision: str = "fp32"
    rest: str | None = None


class GpuTime(msgspec.Struct, frozen=True):
    """Milliseconds of one run. `compute`: by the GPU's clock, without copies between host and GPU. `enqueue`: for the
    host to queue the work."""

    compute: float
    enqueue: float


class Session(ABC):
    """One opened graph. Use it from one thread at a time."""

    @abstractmethod
    def run(self, feeds: Arrays) -> NDArray[Any]:
        """Run the graph on the named inputs, and return its only output. Raises EngineError."""

    @abstractmethod
    def close(self) -> None:
        """Free what the engine holds, for good. Closing twice is harmless; running afterwards raises EngineError."""

    def gpu_time(self, feeds: Mapping[str, Any]) -> GpuTime | None:
        """Time a run with these inputs on the GPU, and drop its output. None if the engine cannot measure it. Raises
        EngineError."""
        return None

    def why_not(self, height: int, width: int) -> str | None:
        """Why images of that size cannot be run, as a clause, or None."""
        return None

    def inputs(self) -> Mapping[str, Shape]:
        """The graph's inputs by name, with the lengths that it fixes; empty if the engine does not say."""
        return {}


class Engine(ABC):
    """A library that runs graphs: OpenVINO, ncnn, ONNX Runtime, TensorRT."""

    name: str  # for `--backend`
    extra: str  # the extra of pyproject.toml that installs it
    on_gpu: bool = False  # its sessions also accept and return arrays on the GPU
    runs_also: tuple[str, ...] = ()  # other engines whose variants it can run
    converts: tuple[str, ...] = ()  # precisions that it converts a float32 graph to
    # Memory that values take, per byte of those that are alive at once (`Variant.working`); at 1024 px OpenVINO takes
    # 1.5, ONNX Runtime 2.1
    scratch: float = 2.2
    after_fork: AfterFork = "never works"  # in a process that was forked from one that has used it

    @abstractmethod
    def absent(self) -> Absence | None:
        """Why the engine cannot run on this machine, or None. Imports the engine only if it is installed."""

    @abstractmethod
    def version(self) -> str:
        """The engine's version. Call it only if the engine is not absent."""

    @abstractmethod
    def devices(self, graph: bytes) -> Mapping[str, str | None]:
        """The devices that the engine finds here, each with the reason why it cannot open `graph`, or None."""

    @abstractmethod
    def open(self, graph: Graph, options: EngineOptions) -> Session:
        """Compile a graph, or load it from the cache. Calls `note_use` first. Raises EngineError."""

    def note_use(self) -> None:
        """Note that this process opens a graph. Raises EngineError in a forked process where that would hang."""
        forks.note_use(self.name, self.after_fork)

    def why_cannot_run(self, variant: Variant) -> str | None:
        """Why this engine cannot run the variant on this machine, even once built, as a clause, or None."""
        absence = self.absent()
        return self.why_unsupported(variant) if absence is None else absence.reason

    def why_unsupported(self, variant: Variant) -> str | None:
        """Why the engine cannot run this variant, as a clause, or None."""
        return None if is_made_for(variant, self) else f"{variant.file} was not made for {self.name}"

    def why_not_ready(self, bundle: Bundle, variant: Variant, options: EngineOptions = EngineOptions()) -> str | None:
        """What to do before the engine can run this variant, as a sentence with the command; None if it is ready.

        Call it only if the engine is not absent and supports the variant. Raises BundleError if a file has changed.
        """
        return None

    def held_memory(self, bundle: Bundle, variant: Variant) -> int:
        """Bytes of memory that the engine holds for a variant while it is open, as an estimate. By default the weights
        twice: as the file has them, and as the engine packs them for its kernels."""
        return 2 * variant.bytes

    def held_beside(self, bundle: Bundle, graph: str) -> int:
        """Bytes of memory that another of the bundle's graphs takes while it is open, as an estimate."""
        return 2 * bundle.graph_bytes(graph)

    def best_batch(self, precision: str) -> int:
        """The smallest batch that runs at about the engine's best rate."""
        return 4 if self.on_gpu else 1

    @property
    def install_line(self) -> str:
        """The command that installs it."""
        return f"pip install 'starcast[{self.extra}]'"


def is_made_for(variant: Variant, engine: Engine) -> bool:
    """Whether a variant was made for an engine, or for another engine whose variants it can run."""
    return not {engine.name, *engine.runs_also}.isdisjoint(variant.engines)


def package_absence(load: Callable[[], Any], package: str, name: str) -> Absence | None:
    """Why the package that `load` imports cannot be used, or None. A usable package has an attribute `name`; an
    uninstalled one may leave an empty folder behind."""
    try:
        module = load()
    except ImportError as error:
        if error.name == package:
            return NOT_INSTALLED
        return Absence(f"installed, but broken ({one_line(error)})", pip_helps=True)
    if hasattr(module, name):
        return None
    return Absence("installed, but broken (it is an empty folder)", pip_helps=True)


_environment = threading.Lock()


@contextmanager
def changed_environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable within the block, for a library that reads it while it is imported."""
    with _environment:
        known = os.environ.get(name)
        os.environ[name] = value
        try:
            yield
        finally:
            if known is None:
                del os.environ[name]
            else:
                os.environ[name] = known


def closed_error(what: object) -> EngineError:
    """The error for using a session after it was closed."""
    return EngineError(f"{what} has been closed: open it again")


def shown(shape: Shape) -> str:
    """`[?, 64]`: a shape with lengths that may differ."""
    return f"[{', '.join('?' if length is None else str(length) for length in shape)}]"


def one_line(error: BaseException | str, most: int = 240) -> str:
    """An engine's error without source code locations, short enough for a sentence."""
    lines = [line.strip() for line in str(error).splitlines()]
    reasons = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))] or lines
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", " ".join(reasons)) or type(error).__name__
    return text if len(text) <= most else f"{text[: most - 1]}…"
