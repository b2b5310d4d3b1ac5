"""What a benchmark runs on: a device knows its rows, how they are timed, its limits, and the figures it reports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starcast.benchmarks.bench.method import Method, Pace
from starcast.benchmarks.bench.rows import LeftOut, Peer, Setting
from starcast.benchmarks.options import BenchOptions
from starcast.export.options import ExportOptions
from starcast.runtime.bundle import Bundle
from starcast.runtime.engines.registry import find_engine
from starcast.runtime.manifest import Variant

if TYPE_CHECKING:
    from starcast.benchmarks.bench.limits import Limits
    from starcast.benchmarks.bench.result import Measured, Result

Progress = Callable[[str], None]
Facts = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long to measure, each turn as `method` says. Afterwards the throughput of each row at `batches`."""

    pace: Pace
    threads: int
    method: Method
    batches: tuple[int, ...] = ()


@dataclass(frozen=True)
class Column:
    """A column of the table: its header, and a row's cell."""

    header: str
    cell: Callable[[Measured, Result], str]


class Device(ABC):
    """The CPU or an NVIDIA GPU."""

    name: str  # as --device takes it
    question: str  # which the record answers
    peers: Mapping[str, Peer]  # by key, the baseline first
    builds_engines: bool = False  # whether a variant needs an engine built before it runs

    @property
    @abstractmethod
    def columns(self) -> tuple[Column, ...]:
        """The table's columns."""

    @abstractmethod
    def plan(self, options: BenchOptions, seconds: float | None = None) -> Plan:
        """How long to measure. `seconds`: what is left of `--quick`'s time. Raises OptionError."""

    @abstractmethod
    def export_options(self) -> ExportOptions:
        """What a bundle of random weights has."""

    @abstractmethod
    def pairs(self, bundle: Bundle) -> Iterator[tuple[str, Variant]]:
        """Every engine of this device with every variant that is meant for it, in the table's order."""

    @abstractmethod
    def why_not(self, engine: str, variant: Variant, bundle: Bundle, setting: Setting) -> str | None:
        """Why an engine does not run a variant here, as a clause, or None."""

    @abstractmethod
    def title(self, result: Result) -> str:
        """The chart's title."""

    def why_not_peer(self, peer: Peer) -> str | None:
        """Why a peer does not run here, as a clause, or None."""
        absence = find_engine(peer.engine).absent() if peer.on_graph else None
        return None if absence is None else absence.reason

    def without_graphs(self, bundle: Bundle) -> dict[str, LeftOut]:
        """By key, the engines that a bundle has no graph for, or whose graphs another device runs."""
        return {}

    def quick_options(self) -> ExportOptions | None:
        """What a bundle of random weights has for `--quick`, whose graphs are not gated; None: the same as any."""
        return None

    def build_missing(
        self, bundle: Bundle, size: tuple[int, int], keys: Collection[str], cache: Path, progress: Progress
    ) -> dict[str, str]:
        """Build the engines that rows with these keys lack into `cache`. Returns, by key, why that failed."""
        return {}

    def state(self) -> Facts | None:
        """What the device reports about itself now."""
        return None

    def measure_limits(self, plain: Callable[[], Path], bundle: Bundle, setting: Setting) -> Limits | None:
        """The device's ceilings, and what an image takes at least. `plain` writes the plain export."""
        return None

    def remarks(self, result: Result) -> list[str]:
        """What else the text says below its tables."""
        return []

    def row_json(self, row: Measured, result: Result) -> dict[str, Any]:
        """Fields of a row's record besides the common ones."""
        return {}

    def record_json(self, result: Result) -> dict[str, Any]:
        """Fields of the record besides the common ones."""
        return {}
