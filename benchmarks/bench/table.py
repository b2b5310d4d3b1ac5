"""A result as tables for the console and the demo's page, and as a JSON record."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from tabulate import tabulate

from starcast.benchmarks.bench.measure import Measured, ratio
from starcast.benchmarks.bench.result import Result, Table
from starcast.benchmarks.bench.throughput import BatchFigure
from starcast.benchmarks.record import provenance

NOISY = 0.10  # spread of a row's rounds (median absolute deviation / median) above which its figures are doubtful
MEGABYTE = 1e6


def headers(result: Result) -> list[str]:
    """The table's headers."""
    return [column.header for column in result.device.columns]


def lines(result: Result) -> list[list[str]]:
    """The table's cells, a line a row; rows with a note are marked."""
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
    """The figures as JSON, every sample kept, with where they were taken."""
    return {
        "question": result.device.question,
        "machine": provenance(threads=result.table.baseline.row.threads),
        **result.device.record_json(result),
        "rows": rows_json(result),
        "notes": result.table.notes,
        **({"remarks": list(result.remarks)} if result.remarks else {}),
        "left_out": [dataclasses.asdict(row) for row in result.table.left_out],
    }


def rows_json(result: Result) -> list[dict[str, Any]]:
    """A mapping for each row, with the device's own fields."""
    return [{**_row_json(row, result.table), **result.device.row_json(row, result)} for row in result.table.rows]


def _row_json(row: Measured, table: Table) -> dict[str, Any]:
    """Times in milliseconds; PSNR null where the images are equal."""
    paired = ratio(row, table.baseline)
    psnr = row.difference.psnr
    return {
        "name": row.row.name,
        "engine": row.row.engine,
        "precision": row.row.precision,
        "form": row.row.form,
        "size": list(row.row.size),
        "batch": row.row.batch,
        "threads": row.row.threads,
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
