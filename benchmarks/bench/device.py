"""The device that a benchmark runs on: its rows, how they are timed, its limits, and the figures it reports."""

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
from starcast.runtime.variants import Variant

if TYPE_CHECKING:
    from starcast.benchmarks.bench.limits import Limits
    from starcast.benchmarks.bench.result import Measured, Result
    from starcast.benchmarks.bench.work import Work

Progress = Callable[[str], None]
Facts = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to measure: rounds at this pace, each turn by this method, then each row's throughput at `batches`."""

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

    name: str  # its value for --device
    question: str  # the one that the record answers
    peers: Mapping[str, Peer]  # by key, the baseline first
    builds_engines: bool = False  # whether a variant needs an engine built before it runs

    @property
    @abstractmethod
    def columns(self) -> tuple[Column, ...]:
        """The table's columns."""

    @abstractmethod
    def plan(self, options: BenchOptions, seconds: float | None = None) -> Plan:
        """The plan that the options ask for. `seconds`: the time limit of `--quick`. Raises OptionError."""

    @abstractmethod
    def export_options(self) -> ExportOptions:
        """How to export random weights for this device."""

    @abstractmethod
    def pairs(self, bundle: Bundle) -> Iterator[tuple[str, Variant]]:
        """Each engine of this device with each variant meant for it, in the table's order."""

    @abstractmethod
    def why_not(self, engine: str, variant: Variant, bundle: Bundle, setting: Setting) -> str | None:
        """Why an engine cannot run a variant here, as a clause; None if it can."""

    @abstractmethod
    def title(self, result: Result) -> str:
        """The chart's title."""

    def why_not_peer(self, peer: Peer) -> str | None:
        """Why a peer cannot run here, as a clause; None if it can."""
        absence = find_engine(peer.engine).absent() if peer.on_graph else None
        return None if absence is None else absence.reason

    def without_graphs(self, bundle: Bundle) -> dict[str, LeftOut]:
        """By row key, engines without a graph in the bundle, or whose graphs run on another device."""
        return {}

    def quick_options(self) -> ExportOptions | None:
        """How to export random weights for `--quick`, without gates; None: by `export_options`, with gates."""
        return None

    def build_missing(
        self, bundle: Bundle, size: tuple[int, int], keys: Collection[str], cache: Path, progress: Progress
    ) -> dict[str, str]:
        """Build into `cache` the engines that rows with these keys lack. Returns the reasons for failures, by key."""
        return {}

    def state(self) -> Facts | None:
        """The device's present state, such as clocks and power; None if it reports none."""
        return None

    def measure_limits(self, work: Work, setting: Setting) -> Limits | None:
        """The device's ceilings and the work for an image, or None."""
        return None

    def remarks(self, result: Result) -> list[str]:
        """The device's sentences below the tables."""
        return []

    def row_json(self, row: Measured, result: Result) -> dict[str, Any]:
        """Fields of a row's record besides the common ones."""
        return {}

    def record_json(self, result: Result) -> dict[str, Any]:
        """Fields of the record besides the common ones."""
        return {}
