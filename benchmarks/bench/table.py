"""Measured rows as a table: for the console, for the page, and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tabulate import tabulate

from starcast.benchmarks.bench.judge import fault
from starcast.benchmarks.bench.measure import Measured, Measurement, ratio
from starcast.benchmarks.bench.rows import LeftOut

NOISY = 0.10  # spread of a row's rounds (median absolute deviation over median) above which its figures are doubtful
HEADERS = (
    "", "median ms", "p95 ms", "images/s", "times eager", "least", "PSNR dB", "differs by", "CPU ms", "peak MB",
)  # fmt: skip
MEGABYTE = 1e6


@dataclass(frozen=True)
class Table:
    """What may be shown: `rows` with the baseline first; `notes` by row name, for peers below their gate; `left_out`
    with those of ours that miss theirs."""

    rows: list[Measured]
    notes: dict[str, str]
    left_out: list[LeftOut]

    @property
    def baseline(self) -> Measured:
        return self.rows[0]


def judged(measurement: Measurement) -> Table:
    """Ours below its gate is no result. A peer below it is what its user gets: shown, with a note.

    The time of ours is told all the same: with random weights, which amplify what a trained network damps, it is all
    that there is to know of int8.
    """
    baseline = measurement.rows[0]
    rows, notes, left_out = [], {}, list(measurement.left_out)
    for row in measurement.rows:
        reason = fault(row.row, row.difference)
        if reason is not None and row.row.ours:
            times = ratio(row, baseline)
            told = f"{reason}; it took 1 / {times.median:.2f} of eager's time (at least 1 / {times.least:.2f})"
            left_out.append(LeftOut(name=row.row.name, reason=told))
            continue
        if reason is not None:
            notes[row.row.name] = reason
        rows.append(row)
    return Table(rows, notes, left_out)


def lines(table: Table) -> list[list[str]]:
    """A line a row, in the order of HEADERS; rows with a note are marked."""
    return [_line(row, table) for row in table.rows]


def remarks(table: Table) -> list[str]:
    """What has to be said below the table, a sentence each."""
    return [
        *(f"* {name}: {note}" for name, note in table.notes.items()),
        *(f"no result: {out.name}: {out.reason}" for out in table.left_out),
        *warnings(table.rows),
    ]


def warnings(rows: Sequence[Measured]) -> list[str]:
    """A sentence a row whose rounds spread too far to be trusted."""
    said = []
    for row in rows:
        seconds = np.asarray(row.seconds)
        spread = float(np.median(np.abs(seconds - np.median(seconds))) / np.median(seconds))
        if spread > NOISY:
            said.append(f"{row.row.name} varied by {spread:.0%} between rounds: measure again on an idle machine")
    return said


def text(table: Table) -> str:
    """Table and remarks for the console."""
    shown = tabulate(lines(table), headers=HEADERS, disable_numparse=True, colalign=("left", *["right"] * 9))
    return "\n".join([shown, *remarks(table)])


def json_rows(table: Table) -> list[dict[str, Any]]:
    """A mapping a row, as JSON takes it: times in milliseconds, PSNR null where the pictures are equal."""
    return [_json_row(row, table.baseline) for row in table.rows]


def _json_row(row: Measured, baseline: Measured) -> dict[str, Any]:
    paired = ratio(row, baseline)
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


def json_table(table: Table) -> dict[str, Any]:
    """The rows, the notes on them, and what was left out."""
    return {
        "rows": json_rows(table),
        "notes": table.notes,
        "left_out": [dataclasses.asdict(out) for out in table.left_out],
    }


def _line(row: Measured, table: Table) -> list[str]:
    paired = ratio(row, table.baseline)
    psnr = row.difference.psnr
    return [
        f"{row.row.name} *" if row.row.name in table.notes else row.row.name,
        f"{row.median_ms:.1f}",
        f"{row.p95_ms:.1f}",
        f"{row.images_per_second:.1f}",
        f"{paired.median:.2f}",
        f"{paired.least:.2f}",
        "equal" if psnr is None else f"{psnr:.1f}",
        "—" if row is table.baseline else f"{row.difference.levels} of 255",
        f"{row.cpu_ms:.1f}",
        "—" if row.peak_rss is None else f"{row.peak_rss / MEGABYTE:.0f}",
    ]
