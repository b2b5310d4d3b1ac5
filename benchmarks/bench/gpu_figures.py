"""Figures that only a GPU's tables and records have, and the bars for starcast on a GPU.

A bar is the multiple of a peer's rate that our best engine must reach. It is judged only where TensorRT runs on the
GPU; the torch engine's figures are listed either way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starcast.benchmarks.bench.device import Column
from starcast.benchmarks.bench.inputs import size_text
from starcast.benchmarks.bench.method import percentile_ms
from starcast.benchmarks.bench.result import BatchFigure, Measured, Result, Table, ratio
from starcast.benchmarks.bench.rows import EAGER, TORCH, Row
from starcast.runtime.nvidia.first_gpu import current_gpu
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS


@dataclass(frozen=True)
class Bar:
    """The rate to reach at a batch size, as a multiple of a peer's."""

    times: float
    peer: str  # its row's key
    batch: int


@dataclass(frozen=True)
class Reached:
    """A row's rate as a multiple of the peer's; `paired`: both were measured in the same rounds, not each alone."""

    row: str
    times: float
    paired: bool


BARS = (Bar(6.0, EAGER, 1), Bar(2.0, "eager-fp16", 16))
Batches = Mapping[str, Sequence[BatchFigure]]  # by row key


def best_reached(bar: Bar, engines: Iterable[str], table: Table, batches: Batches) -> Reached | None:
    """The best of our rows on these engines; None unless it and the peer were measured at the bar's batch size."""
    by_key = {row.row.key: row for row in table.rows}
    peer, wanted = by_key.get(bar.peer), set(engines)
    if peer is None:
        return None
    ours = [row for row in table.rows if row.row.ours and row.row.engine in wanted]
    reached = [pair for row in ours if (pair := _compare(row, peer, bar.batch, batches)) is not None]
    return max(reached, key=lambda pair: pair.times, default=None)


def bar_facts(table: Table, batches: Batches) -> list[dict[str, Any]]:
    """Every bar, what TensorRT and the torch engine reached, and whether it is met (None without TensorRT)."""
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
    """The bars as sentences; bars that nothing was measured for are left out."""
    lines = []
    for facts in bar_facts(table, batches):
        reached = [f"{row['row']} {row['times']:.2f}" for row in (facts["tensorrt"], facts["torch"]) if row is not None]
        if reached:
            verdict = {True: "met", False: "missed", None: "no TensorRT ran"}[facts["met"]]
            bar = f"{facts['times']:g} times {facts['of']} at a batch of {facts['batch']}"
            lines.append(f"bar: {bar}: {', '.join(reached)} ({verdict})")
    return lines


def _compare(row: Measured, peer: Measured, batch: int, batches: Batches) -> Reached | None:
    if row.row.setting.batch == batch:
        return Reached(row.row.name, round(ratio(row, peer).median, 3), paired=True)
    ours, theirs = (_rate(batches.get(measured.row.key, ()), batch) for measured in (row, peer))
    return None if ours is None or theirs is None else Reached(row.row.name, round(ours / theirs, 3), paired=False)


def _rate(figures: Sequence[BatchFigure], batch: int) -> float | None:
    return next((figure.images_per_second for figure in figures if figure.batch == batch), None)


HOST_BOUND = 0.8  # a run is limited by the CPU if starting it takes this share of its compute time
METHOD = {
    "latency": "batches of `batch`, one run after the other, from NumPy arrays to NumPy arrays: copies included, "
    "through page-locked memory, one wait for the GPU per run. Rows are loaded side by side and take windows in turn, "
    "in a new random order each round; ratios are paired within a round.",
    "throughput": "each row alone in a fresh process, the same runs at each batch size.",
    "split": "copies, and the compute of PyTorch, TensorRT and the torch engine, between CUDA events; ONNX Runtime's "
    "compute by the host's clock, around a call with images and noise that are on the GPU and stay there. Medians.",
    "of_matmul_ceiling": "a graph's own convolutions, two operations a multiply-add, in its compute time, beside the "
    "best product of large matrices in its precision (int8 and fp8: in fp16).",
    "of_copy_bandwidth": "what the convolutions of the form taps16 read and write once, in the row's compute time, "
    "beside the best copy within the GPU, reads and writes counted.",
    "tf32": "off, except in rows that name it",
    "bars": "the best of ours beside a peer: paired where the rounds had that batch, otherwise each alone.",
}


def _percentile(level: int) -> Column:
    return Column(f"p{level} ms", lambda row, result: _format(percentile_ms(row.samples, level), ".2f"))


def _part(name: str) -> Column:
    return Column(name.replace("_", " "), lambda row, result: _format(row.split.get(name), ".3f"))


def _share(header: str, name: str) -> Column:
    def cell(row: Measured, result: Result) -> str:
        return _format(_shares(row.row, row.row.setting.batch, row.split, result).get(name), ".1%")

    return Column(header, cell)


PERCENTILES = tuple(_percentile(level) for level in (50, 95, 99))
PARTS = (
    *(_part(name) for name in ("copy_in", "compute", "copy_out")),
    _share("of matmul", "of_matmul_ceiling"), _share("of copy", "of_copy_bandwidth"),
)  # fmt: skip


def title(result: Result) -> str:
    """The chart's title."""
    row, state = result.table.baseline.row, result.state[0]
    name = "an NVIDIA GPU" if state is None else state["name"]
    return f"{size_text(row.setting.size)} px, batch {row.setting.batch}, on {name}"


def remarks(result: Result) -> list[str]:
    """The bars, and remarks on rows whose times need an explanation."""
    rows = result.table.rows
    return [
        *bar_lines(result.table, result.batches),
        *(f"{row.row.name} never became steady in its warm-up" for row in rows if not row.steady),
        *(f"{row.row.name} {limit}" for row in rows if (limit := limited_by(row.split)) is not None),
    ]


def limited_by(split: Mapping[str, float | None]) -> str | None:
    """What limits a run besides GPU compute (launches or copies), as trtexec warns of it; None if nothing does."""
    copy_in, compute, copy_out, enqueue = (split.get(name) for name in ("copy_in", "compute", "copy_out", "enqueue"))
    if compute is None:
        return None
    if enqueue is not None and enqueue > HOST_BOUND * compute:
        return f"is limited by the CPU: starting a run takes {enqueue:.3f} ms, computing it {compute:.3f}"
    copies = (copy_in or 0) + (copy_out or 0)
    return f"copies as long as it computes: {copies:.3f} and {compute:.3f} ms" if copies >= compute else None


def record_json(result: Result) -> dict[str, Any]:
    """The GPU, the method with its settings, the limits, and the bars."""
    before, after = result.state
    gpu, limits = current_gpu(), result.limits
    assert limits is not None
    return {
        "gpu": {"before": before, "after": after, "device": None if gpu is None else dataclasses.asdict(gpu)},
        "method": {**METHOD, "settings": dataclasses.asdict(result.method)},
        "ceilings": dataclasses.asdict(limits.ceilings),
        "work_per_image": {
            "flop": {name or "plain": flop for name, flop in limits.work.flop.items()},
            "numbers_of_convolutions": limits.work.numbers,
        },
        "bars": bar_facts(result.table, result.batches),
    }


def row_json(row: Measured, result: Result) -> dict[str, Any]:
    """A row's percentiles, parts and shares of the ceilings, and its throughput."""
    return {
        **_timing_json(row.row, row.row.setting.batch, row.samples, row.split, result),
        "steady": row.steady,
        "gpu": row.turns[-1].state,
        "batches": [_batch_json(row.row, figure, result) for figure in result.batches.get(row.row.key, ())],
    }


def _batch_json(row: Row, figure: BatchFigure, result: Result) -> dict[str, Any]:
    if figure.turn is None:
        return {"batch": figure.batch, "reason": figure.reason}
    return {
        "batch": figure.batch,
        "images_per_s": _round(figure.images_per_second, 3),
        "gpu": figure.turn.state,
        **_timing_json(row, figure.batch, figure.turn.samples, figure.turn.split or {}, result),
    }


def _timing_json(
    row: Row, batch: int, samples: Sequence[float], split: Mapping[str, float | None], result: Result
) -> dict[str, Any]:
    return {
        "ms_least": _round(percentile_ms(samples, 0), 4),
        **{f"ms_p{level}": _round(percentile_ms(samples, level), 4) for level in (50, 90, 95, 99)},
        "samples": len(samples),
        **{f"{name}_ms": _round(value, 4) for name, value in split.items()},
        **_shares(row, batch, split, result),
    }


def _shares(row: Row, batch: int, split: Mapping[str, float | None], result: Result) -> dict[str, float | None]:
    assert result.limits is not None
    return result.limits.shares(row, batch, split.get("compute"))


def _format(value: float | None, how: str) -> str:
    return "—" if value is None else format(value, how)


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
