"""What an engine must offer. Adding one takes one module here and one line in choose.py's table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from starcast.runtime.bundle import Bundle
from starcast.runtime.manifest import Variant

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How an engine runs. `threads` None: as many as the process may use (affinity and container quota). `memory` is
    the most bytes that translating one batch may take; None: any. `precision` and `rest` are the variant's."""

    threads: int | None = None
    memory: int | None = None
    precision: str = "fp32"
    rest: str | None = None
    cache: Path | None = None  # folder for compiled models; None: the user's cache
    say: Callable[[str], None] = lambda line: None  # gets what is worth knowing, as a sentence


@dataclass(frozen=True)
class GraphFile:
    """A graph to be opened: its file, a hash that stands for it and the weights beside it (None: nothing is kept of
    it), how large both are, and the folder of its bundle, which messages name."""

    path: Path
    digest: str | None = None
    bytes: int = 0
    bundle: Path | None = None


@dataclass(frozen=True)
class CardTime:
    """Milliseconds of one run of a graph: what the card takes for it by its own clock, without copies from and to the
    host, and what the host takes until it has asked for it."""

    compute: float
    enqueue: float


class Session(Protocol):
    """One compiled graph. Safe to use from one thread at a time."""

    def run(self, feeds: Arrays) -> NDArray[Any]:
        """The graph's only output for the named inputs. Raises EngineError."""

    def card_time(self, feeds: Mapping[str, Any]) -> CardTime | None:
        """How long a run with these inputs takes on the card, whose output is lost; None where an engine does not
        tell. Raises EngineError."""
        return None

    def why_not(self, height: int, width: int) -> str | None:
        """Why pictures of that size cannot be run, as a clause, or None: most engines take every size."""
        return None

    def close(self) -> None:
        """Free what the engine holds; running after it is a mistake."""


class Backend(Protocol):
    """An engine: a name for `--backend`, and what there is to ask it."""

    name: str
    extra: str  # the extra of pyproject.toml that installs it
    on_card: bool = False  # its sessions take and give arrays that are on the graphics card, too
    runs_also: tuple[str, ...] = ()  # engines whose variants it runs as well as its own
    converts: tuple[str, ...] = ()  # precisions that it makes of a float32 graph by itself

    def absent(self) -> str | None:
        """Why the engine cannot run on this machine, or None. Imports the engine only if it is installed."""

    def supports(self, variant: Variant) -> str | None:
        """Why it cannot run this variant, or None."""

    def ready(self, bundle: Bundle, variant: Variant, options: EngineOptions = EngineOptions()) -> str | None:
        """What is still to be done before it runs this variant, which it supports, as a sentence with the command; or
        None. Asked of an engine that is not absent. Raises BundleError where a file has changed."""
        return None

    def version(self) -> str:
        """The engine's version, where it is not absent."""

    def devices(self, graph: bytes) -> Mapping[str, str | None]:
        """The devices that the engine knows here, each with the reason why it does not open `graph`, or None."""

    def batch(self, precision: str) -> int:
        """Pictures at a time with which it is about at its best rate, and takes no memory for nothing."""
        return 4 if self.on_card else 1

    def open(self, graph: GraphFile, options: EngineOptions) -> Session:
        """Compile an ONNX graph, or take what was kept of it at an earlier start. Raises EngineError."""


def made_for(variant: Variant, backend: Backend) -> bool:
    """Whether a variant was made for an engine."""
    return not {backend.name, *backend.runs_also}.isdisjoint(variant.engines)


def one_line(error: BaseException, most: int = 240) -> str:
    """What an engine said, without the places in its source code, short enough for a sentence."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))] or lines
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", " ".join(told)) or type(error).__name__
    return text if len(text) <= most else f"{text[: most - 1]}…"
