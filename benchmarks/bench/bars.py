"""What starcast on a GPU is held to: how many times a peer's rate its best engine must reach.

Without a TensorRT for the GPU a bar is neither met nor missed; the torch engine's figures are listed either way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starcast.benchmarks.bench.measure import Measured, ratio
from starcast.benchmarks.bench.result import Table
from starcast.benchmarks.bench.rows import EAGER, TORCH
from starcast.benchmarks.bench.throughput import BatchFigure
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS


@dataclass(frozen=True)
class Bar:
    """So many times the rate of a peer, at a batch size."""

    times: float
    peer: str  # its row's key
    batch: int


@dataclass(frozen=True)
class Reached:
    """How many times a row has the peer's rate; `paired`: in the same rounds, instead of each alone."""

    row: str
    times: float
    paired: bool


BARS = (Bar(6.0, EAGER, 1), Bar(2.0, "eager-fp16", 16))
Batches = Mapping[str, Sequence[BatchFigure]]  # by row key


def best_reached(bar: Bar, engines: Iterable[str], table: Table, batches: Batches) -> Reached | None:
    """The best of our rows on these engines; None if none of them, or not the peer, was measured at that batch."""
    by_key = {row.row.key: row for row in table.rows}
    peer, wanted = by_key.get(bar.peer), set(engines)
    if peer is None:
        return None
    ours = [row for row in table.rows if row.row.ours and row.row.engine in wanted]
    reached = [pair for row in ours if (pair := _compare(row, peer, bar.batch, batches)) is not None]
    return max(reached, key=lambda pair: pair.times, default=None)


def bar_facts(table: Table, batches: Batches) -> list[dict[str, Any]]:
    """Every bar, what TensorRT and the torch engine reach of it, and whether it is met (None without TensorRT)."""
    facts = []
    for bar in BARS:
        best, torch = (best_reached(bar, engines, table, batches) for engines in (FLAVOURS, (TORCH,)))
        facts.append(
            {
                "times": bar.times, "of": bar.peer, "batch": bar.batch,
                "tensorrt": None if best is None else vars(best), "torch": None if torch is None else vars(torch),
                "met": None if best is None else best.times >= bar.times,
            }
        )  # fmt: skip
    return facts


def bar_lines(table: Table, batches: Batches) -> list[str]:
    """The same as sentences; none for a bar without a measurement."""
    lines = []
    for facts in bar_facts(table, batches):
        reached = [f"{row['row']} {row['times']:.2f}" for row in (facts["tensorrt"], facts["torch"]) if row is not None]
        if reached:
            verdict = {True: "met", False: "missed", None: "no TensorRT ran"}[facts["met"]]
            bar = f"{facts['times']:g} times {facts['of']} at a batch of {facts['batch']}"
            lines.append(f"bar: {bar}: {', '.join(reached)} ({verdict})")
    return lines


def _compare(row: Measured, peer: Measured, batch: int, batches: Batches) -> Reached | None:
    if row.row.batch == batch:
        return Reached(row.row.name, round(ratio(row, peer).median, 3), paired=True)
    ours, theirs = (_rate(batches.get(measured.row.key, ()), batch) for measured in (row, peer))
    return None if ours is None or theirs is None else Reached(row.row.name, round(ours / theirs, 3), paired=False)


def _rate(figures: Sequence[BatchFigure], batch: int) -> float | None:
    return next((figure.images_per_second for figure in figures if figure.batch == batch), None)
