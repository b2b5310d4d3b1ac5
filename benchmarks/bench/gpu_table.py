"""What was measured on a card, as two tables for the console, and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

from starcast.benchmarks.bench.bars import bar_facts, bar_lines
from starcast.benchmarks.bench.gpu_bench import BatchFigure, CardTable
from starcast.benchmarks.bench.inputs import size_text
from starcast.benchmarks.bench.measure import Measured, ratio
from starcast.benchmarks.bench.method import percentile_ms
from starcast.benchmarks.bench.rows import Row
from starcast.benchmarks.bench.table import json_table, remarks
from starcast.benchmarks.record import provenance
from starcast.runtime.nvidia.gpu import current_gpu

HEADERS = (
    "", "p50 ms", "p95 ms", "p99 ms", "times eager", "least", "copy in", "compute", "copy out", "of matmul", "of copy",
    "PSNR dB", "differs by",
)  # fmt: skip
HOST_BOUND = 0.8  # of a calculation's time
METHOD = {
    "latency": "batches of `batch`, one run after the other, from numpy's bytes to numpy's bytes: copies inside, "
    "through page-locked memory, one wait for the card a run. Rows are loaded side by side and take windows in turn, "
    "in an order drawn anew each round; ratios are paired within a round.",
    "throughput": "each row alone in a fresh process, the same runs at each batch size.",
    "split": "copies, and the compute of PyTorch, TensorRT and the torch backend, between CUDA events; ONNX Runtime's "
    "compute by the host's clock, around a call with pictures that are on the card and stay there. Medians.",
    "of_matmul_ceiling": "a graph's own convolutions, two operations a multiply-add, in its compute time, beside the "
    "best product of large matrices in its precision (int8 and fp8: in fp16).",
    "of_copy_bandwidth": "what the convolutions of the form taps16 read and write once, in the row's compute time, "
    "beside the best copy within the card, reads and writes counted.",
    "tf32": "off, but for the rows that name it",
    "bars": "the best of ours beside a peer: paired where the rounds had that batch, else each alone.",
}


def card_text(found: CardTable) -> str:
    """Tables and remarks for the console."""
    table = found.latency
    latency = tabulate(
        [_line(row, found) for row in table.rows], headers=HEADERS, disable_numparse=True,
        colalign=("left", *["right"] * (len(HEADERS) - 1)),
    )  # fmt: skip
    sizes = list(dict.fromkeys(figure.batch for figures in found.batches.values() for figure in figures))
    images = [
        [row.row.name, *(_images(found.batches[row.row.key], size) for size in sizes)]
        for row in table.rows
        if row.row.key in found.batches
    ]
    throughput = tabulate(
        images, headers=["images/s at a batch of", *map(str, sizes)], disable_numparse=True,
        colalign=("left", *["right"] * len(sizes)),
    )  # fmt: skip
    failed = [
        f"no result: {row.row.name} at a batch of {figure.batch}: {figure.reason}"
        for row in table.rows
        for figure in found.batches.get(row.row.key, ())
        if figure.reason is not None
    ]
    unsteady = [f"{row.row.name} never became steady in its warm-up" for row in table.rows if not row.steady]
    bars = bar_lines(table, found.batches)
    held_back = [
        f"{row.row.name} {reason}" for row in table.rows if (reason := held_back_by(row.split or {})) is not None
    ]
    return "\n".join([latency, "", throughput, *bars, *remarks(table), *failed, *unsteady, *held_back])


def held_back_by(split: Mapping[str, float | None]) -> str | None:
    """What else than the card's calculation a run's time is that of, as trtexec warns of it; or None."""
    copy_in, compute, copy_out, enqueue = (split.get(name) for name in ("copy_in", "compute", "copy_out", "enqueue"))
    if compute is None:
        return None
    if enqueue is not None and enqueue > HOST_BOUND * compute:
        return f"is held back by the processor: to start a run takes {enqueue:.3f} ms, and the run {compute:.3f}"
    copies = (copy_in or 0) + (copy_out or 0)
    return f"copies for as long as it calculates: {copies:.3f} and {compute:.3f} ms" if copies >= compute else None


def card_title(found: CardTable) -> str:
    """What the chart says above its bars."""
    row = found.latency.baseline.row
    facts = found.facts[0]
    name = "a card" if facts is None else facts["name"]
    return f"{size_text(row.size)} px, batch {row.batch}, on {name}"


def card_record(found: CardTable) -> dict[str, Any]:
    """The figures as JSON, with the method and its settings, the card and what it can do at best."""
    table = json_table(found.latency)
    table["rows"] = [
        {**plain, **_card_fields(row, found)} for plain, row in zip(table["rows"], found.latency.rows, strict=True)
    ]
    before, after = found.facts
    gpu = current_gpu()
    return {
        "question": "how long does one batch take on this card, uint8 in and out, and how many pictures a second?",
        "machine": provenance(threads=found.latency.baseline.row.threads),
        "card": {"before": before, "after": after, "gpu": None if gpu is None else dataclasses.asdict(gpu)},
        "method": {**METHOD, "settings": dataclasses.asdict(found.method)},
        "ceilings": dataclasses.asdict(found.ceilings),
        "work_per_image": {
            "flop": {name or "plain": flop for name, flop in found.work.flop.items()},
            "numbers_of_convolutions": found.work.numbers,
        },
        "bars": bar_facts(found.latency, found.batches),
        **table,
    }


def reached(row: Row, batch: int, compute_ms: float | None, found: CardTable) -> dict[str, float | None]:
    """What a calculation of so many milliseconds amounts to, and its parts of the card's ceilings."""
    flop = found.work.flop.get(row.variant)
    if compute_ms is None or flop is None:
        return {"tflop_per_s": None, "of_matmul_ceiling": None, "of_copy_bandwidth": None}
    rate = flop * batch / compute_ms / 1e9
    traffic = found.work.bytes(row.precision) * batch / compute_ms / 1e6
    return {
        "tflop_per_s": round(rate, 3),
        "of_matmul_ceiling": _rounded(found.ceilings.of_matrix(rate, row.precision), 4),
        "of_copy_bandwidth": _rounded(found.ceilings.of_copy(traffic), 4),
    }


def _card_fields(row: Measured, found: CardTable) -> dict[str, Any]:
    return {
        **_timed(row.row, row.row.batch, row.samples, row.split or {}, found),
        "steady": row.steady,
        "card": row.card,
        "batches": [_json_batch(row.row, figure, found) for figure in found.batches.get(row.row.key, ())],
    }


def _json_batch(row: Row, figure: BatchFigure, found: CardTable) -> dict[str, Any]:
    if figure.reason is not None:
        return {"batch": figure.batch, "reason": figure.reason}
    return {
        "batch": figure.batch,
        "images_per_s": _rounded(figure.images_per_second, 3),
        "card": figure.card,
        **_timed(row, figure.batch, figure.samples, figure.split or {}, found),
    }


def _timed(
    row: Row, batch: int, samples: tuple[float, ...], split: Mapping[str, float | None], found: CardTable
) -> dict[str, Any]:
    return {
        "ms_least": _rounded(percentile_ms(samples, 0), 4),
        **{f"ms_p{level}": _rounded(percentile_ms(samples, level), 4) for level in (50, 90, 95, 99)},
        "samples": len(samples),
        **{f"{name}_ms": _rounded(value, 4) for name, value in split.items()},
        **reached(row, batch, split.get("compute"), found),
    }


def _line(row: Measured, found: CardTable) -> list[str]:
    table, split = found.latency, row.split or {}
    paired, psnr = ratio(row, table.baseline), row.difference.psnr
    parts = reached(row.row, row.row.batch, split.get("compute"), found)
    return [
        f"{row.row.name} *" if row.row.name in table.notes else row.row.name,
        *(_shown(percentile_ms(row.samples, level), ".2f") for level in (50, 95, 99)),
        f"{paired.median:.2f}",
        f"{paired.least:.2f}",
        *(_shown(split.get(name), ".3f") for name in ("copy_in", "compute", "copy_out")),
        _shown(parts["of_matmul_ceiling"], ".1%"),
        _shown(parts["of_copy_bandwidth"], ".1%"),
        "equal" if psnr is None else f"{psnr:.1f}",
        "—" if row is table.baseline else f"{row.difference.levels} of 255",
    ]


def _images(figures: list[BatchFigure], batch: int) -> str:
    found = next((figure for figure in figures if figure.batch == batch), None)
    return "—" if found is None else _shown(found.images_per_second, ".0f")


def _shown(value: float | None, how: str) -> str:
    return "—" if value is None else format(value, how)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
