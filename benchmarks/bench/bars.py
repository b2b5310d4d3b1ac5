"""What a runtime on a card is held to: how many times PyTorch's rate its best engine reaches, beside what is asked for.

Where no TensorRT takes the card, nothing is met or missed; the torch backend's figures stand there either way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starcast.benchmarks.bench.gpu_bench import BatchFigure
from starcast.benchmarks.bench.measure import Measured, ratio
from starcast.benchmarks.bench.rows import EAGER, TORCH
from starcast.benchmarks.bench.table import Table
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS


@dataclass(frozen=True)
class Bar:
    """So many times the rate of a peer, at a batch size."""

    times: float
    peer: str  # its row's key
    batch: int


@dataclass(frozen=True)
class Reached:
    """How often a row has the peer's rate; `paired`: in the same rounds, and not each alone."""

    row: str
    times: float
    paired: bool


BARS = (Bar(6.0, EAGER, 1), Bar(2.0, "eager-fp16", 16))
Batches = Mapping[str, Sequence[BatchFigure]]  # by row key


def reached(bar: Bar, engines: Iterable[str], latency: Table, batches: Batches) -> Reached | None:
    """The best of our rows on those engines; None where none of them, or not the peer, was measured at that batch."""
    by_key = {row.row.key: row for row in latency.rows}
    peer, wanted = by_key.get(bar.peer), set(engines)
    if peer is None:
        return None
    found = [
        pair for row in latency.rows if row.row.ours and row.row.engine in wanted
        if (pair := _beside(row, peer, bar.batch, batches)) is not None
    ]  # fmt: skip
    return max(found, key=lambda pair: pair.times, default=None)


def bar_facts(latency: Table, batches: Batches) -> list[dict[str, Any]]:
    """Every bar, what TensorRT and the torch backend reach of it, and whether TensorRT is there."""
    facts = []
    for bar in BARS:
        best, torch = (reached(bar, engines, latency, batches) for engines in (FLAVOURS, (TORCH,)))
        facts.append(
            {
                "times": bar.times, "of": bar.peer, "batch": bar.batch,
                "tensorrt": None if best is None else vars(best), "torch": None if torch is None else vars(torch),
                "met": None if best is None else best.times >= bar.times,
            }
        )  # fmt: skip
    return facts


def bar_lines(latency: Table, batches: Batches) -> list[str]:
    """The same as sentences; none for a bar that nothing was measured for."""
    lines = []
    for facts in bar_facts(latency, batches):
        told = [f"{one['row']} {one['times']:.2f}" for one in (facts["tensorrt"], facts["torch"]) if one is not None]
        if told:
            verdict = {True: "met", False: "missed", None: "no TensorRT ran"}[facts["met"]]
            asked = f"{facts['times']:g} times {facts['of']} at a batch of {facts['batch']}"
            lines.append(f"asked for are {asked}: {', '.join(told)} ({verdict})")
    return lines


def _beside(row: Measured, peer: Measured, batch: int, batches: Batches) -> Reached | None:
    if row.row.batch == batch:
        return Reached(row.row.name, round(ratio(row, peer).median, 3), paired=True)
    ours, theirs = (_rate(batches.get(one.row.key, ()), batch) for one in (row, peer))
    return None if ours is None or theirs is None else Reached(row.row.name, round(ours / theirs, 3), paired=False)


def _rate(figures: Sequence[BatchFigure], batch: int) -> float | None:
    return next((figure.images_per_second for figure in figures if figure.batch == batch), None)
