"""A result as a table for the console and the demo's page, as a JSON record, and as a chart."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from starcast.atomic import atomic_path
from starcast.benchmarks.bench.device import Column
from starcast.benchmarks.bench.result import BatchFigure, Measured, Result, Table, ratio
from starcast.benchmarks.record import provenance

MEGABYTE = 1e6


def _name(row: Measured, result: Result) -> str:
    return f"{row.row.name} *" if row.row.name in result.table.notes else row.row.name


def _psnr(row: Measured, result: Result) -> str:
    psnr = row.difference.psnr
    return "equal" if psnr is None else f"{psnr:.1f}"


def _levels(row: Measured, result: Result) -> str:
    return "—" if row is result.table.baseline else f"{row.difference.levels} of 255"


def _peak_memory(row: Measured, result: Result) -> str:
    return "—" if row.peak_rss is None else f"{row.peak_rss / MEGABYTE:.0f}"


NAME = Column("", _name)
MEDIAN = Column("median ms", lambda row, result: f"{row.median_ms:.1f}")
P95 = Column("p95 ms", lambda row, result: f"{row.p95_ms:.1f}")
IMAGES = Column("images/s", lambda row, result: f"{row.images_per_second:.1f}")
TIMES_EAGER = Column("times eager", lambda row, result: f"{ratio(row, result.table.baseline).median:.2f}")
LEAST = Column("least", lambda row, result: f"{ratio(row, result.table.baseline).least:.2f}")
PSNR = Column("PSNR dB", _psnr)
LEVELS = Column("differs by", _levels)
CPU_TIME = Column("CPU ms", lambda row, result: f"{row.cpu_ms:.1f}")
PEAK_MEMORY = Column("peak MB", _peak_memory)


NOISY = 0.10  # spread of a row's rounds (median absolute deviation / median) above which its figures are doubtful


def headers(result: Result) -> list[str]:
    """The table's headers."""
    return [column.header for column in result.device.columns]


def lines(result: Result) -> list[list[str]]:
    """The table's cells, one line per row; rows with a note are marked."""
    return [[column.cell(row, result) for column in result.device.columns] for row in result.table.rows]


def remarks(result: Result) -> list[str]:
    """Sentences below the table: notes, rows without a result, and doubts."""
    table = result.table
    failed = [
        f"no result: {row.row.name} at a batch of {figure.batch}: {figure.reason}"
        for row in table.rows
        for figure in result.batches.get(row.row.key, ())
        if figure.reason is not None
    ]
    return [
        *result.remarks,
        *(f"* {name}: {note}" for name, note in table.notes.items()),
        *(f"no result: {row.name}: {row.reason}" for row in table.left_out),
        *failed,
        *warnings(table.rows),
        *result.device.remarks(result),
    ]


def warnings(rows: Sequence[Measured]) -> list[str]:
    """A sentence for each row whose rounds spread too far to be trusted."""
    sentences = []
    for row in rows:
        seconds = np.asarray(row.seconds)
        spread = float(np.median(np.abs(seconds - np.median(seconds))) / np.median(seconds))
        if spread > NOISY:
            sentences.append(f"{row.row.name} varied by {spread:.0%} between rounds: measure again on an idle machine")
    return sentences


def text(result: Result) -> str:
    """Tables and remarks for the console."""
    tables = [_tabulate_rows(headers(result), lines(result))]
    if result.batches:
        sizes = list(dict.fromkeys(figure.batch for figures in result.batches.values() for figure in figures))
        rates = [
            [row.row.name, *(_rate(result.batches[row.row.key], size) for size in sizes)]
            for row in result.table.rows
            if row.row.key in result.batches
        ]
        tables.append(_tabulate_rows(["images/s at a batch of", *map(str, sizes)], rates))
    return "\n".join(["\n\n".join(tables), *remarks(result)])


def record(result: Result) -> dict[str, Any]:
    """The figures as JSON, with every round's time, the machine and the versions."""
    return {
        "question": result.device.question,
        "machine": provenance(threads=result.table.baseline.row.setting.threads),
        **result.device.record_json(result),
        "rows": rows_json(result),
        "notes": result.table.notes,
        **({"remarks": list(result.remarks)} if result.remarks else {}),
        "left_out": [dataclasses.asdict(row) for row in result.table.left_out],
    }


def rows_json(result: Result) -> list[dict[str, Any]]:
    """The rows as JSON, including the device's fields."""
    return [
        {
            **_row_json(row, result.table),
            **({} if result.work is None else result.work.row_json(row.row)),
            **result.device.row_json(row, result),
        }
        for row in result.table.rows
    ]


def _row_json(row: Measured, table: Table) -> dict[str, Any]:
    """Times in milliseconds; PSNR null where the images are equal."""
    paired = ratio(row, table.baseline)
    psnr = row.difference.psnr
    return {
        "name": row.row.name,
        "engine": row.row.engine,
        "precision": row.row.precision,
        "form": row.row.form,
        "size": list(row.row.setting.size),
        "batch": row.row.setting.batch,
        "threads": row.row.setting.threads,
        "ms_p50": round(row.median_ms, 3),
        "ms_p95": round(row.p95_ms, 3),
        "cpu_ms": round(row.cpu_ms, 3),
        "images_per_s": round(row.images_per_second, 3),
        "ratio_vs_eager": round(paired.median, 3),
        "psnr_db": None if psnr is None else round(psnr, 2),
        "max_abs_err": row.difference.levels,
        "peak_rss_mb": None if row.peak_rss is None else round(row.peak_rss / MEGABYTE, 1),
        "ratio_least": round(paired.least, 3),
        "ratio_greatest": round(paired.greatest, 3),
        "seconds": [round(value, 6) for value in row.seconds],
    }


def _tabulate_rows(headers: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    alignment = ("left", *["right"] * (len(headers) - 1))
    return tabulate(lines, headers=headers, disable_numparse=True, colalign=alignment)


def _rate(figures: Sequence[BatchFigure], batch: int) -> str:
    rate = next((figure.images_per_second for figure in figures if figure.batch == batch), None)
    return "—" if rate is None else f"{rate:.0f}"


OURS, PEERS, BASELINE = "#1a7f8c", "#b9b4a7", "#6b7280"


def draw_chart(path: Path, result: Result) -> Path:
    """Write a PNG, atomically. Bars are medians of the paired ratios; lines go from the least to the greatest."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    table = result.table
    rows = list(reversed(table.rows))  # the first at the top
    ratios = [ratio(row, table.baseline) for row in rows]
    figure = Figure(figsize=(9, 1.3 + 0.36 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    medians = [paired.median for paired in ratios]
    reach = [
        [paired.median - paired.least for paired in ratios],
        [paired.greatest - paired.median for paired in ratios],
    ]
    colours = [OURS if row.row.ours else BASELINE if row is table.baseline else PEERS for row in rows]
    names = [_name(row, result) for row in rows]
    axes.barh(names, medians, color=colours, height=0.68)
    axes.errorbar(medians, range(len(rows)), xerr=reach, fmt="none", ecolor="#00000066", elinewidth=1, capsize=2)
    for place, (row, paired) in enumerate(zip(rows, ratios, strict=True)):
        digits = 0 if row.median_ms >= 10 else 1
        label = f"  {paired.median:.2f} × · {row.median_ms:.{digits}f} ms"
        axes.text(paired.greatest, place, label, va="center", fontsize=9)
    axes.axvline(1, color=BASELINE, linewidth=0.8)
    axes.set_xlim(0, max(paired.greatest for paired in ratios) * 1.35)  # room for the labels
    axes.set_xlabel("times as fast as eager PyTorch, round by round (line: least to greatest)")
    figure.suptitle(result.device.title(result), x=0.01, ha="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if table.notes:
        figure.supxlabel("* differs from eager by more than its precision's gate allows", x=0.01, ha="left", fontsize=8)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=150)
    return path
