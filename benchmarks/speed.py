"""Eager PyTorch against a bundle on every engine of this machine: the rows, the table and the record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from starcast.benchmarks.measure import Measured, measure, ratio
from starcast.benchmarks.options import ROWS, BenchmarkOptions
from starcast.benchmarks.record import provenance, write_result
from starcast.benchmarks.report import speed_table, speed_warnings
from starcast.benchmarks.rows import Row
from starcast.errors import OptionError
from starcast.runtime.backends.choose import available
from starcast.runtime.cores import allowed_threads


def rows_for(checkpoint: Path, bundle: Path, options: BenchmarkOptions) -> list[Row]:
    """The rows that were asked for, or eager and every engine that is here. Raises OptionError for an unknown one."""
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        raise OptionError(f"--rows has {unknown[0]!r}: known are {', '.join(ROWS)}")
    engines = options.rows or ("eager", "eager-channels-last", *available())
    threads = options.threads or allowed_threads()
    return [
        Row(engine=engine, checkpoint=checkpoint, bundle=bundle, batch=options.batch, threads=threads)
        for engine in engines
    ]


def measure_bundle(
    checkpoint: Path, bundle: Path, options: BenchmarkOptions, progress: Callable[[str], None] = lambda _: None
) -> list[Measured]:
    """The measured rows; the first is the baseline."""
    return measure(rows_for(checkpoint, bundle, options), rounds=options.rounds, progress=progress)


def benchmark_bundle(checkpoint: Path, bundle: Path, options: BenchmarkOptions) -> str:
    """Measure, write the record if `json` is given, and return the table as text."""
    from tqdm import tqdm

    with tqdm(desc="measuring", bar_format="{desc} [{elapsed}]") as bar:
        measured = measure_bundle(checkpoint, bundle, options, lambda text: bar.set_description_str(text))
    if options.json is not None:
        write_result(options.json, result_of(measured))
    table = tabulate(
        [list(line.values()) for line in speed_table(measured)],
        headers=["", "median ms", "images/s", "times eager", "least", "differs by"], disable_numparse=True,
    )  # fmt: skip
    return "\n".join([table, *speed_warnings(measured)])


def result_of(measured: Sequence[Measured]) -> dict[str, Any]:
    """The figures as JSON: every sample is kept, and where it was taken."""
    return {
        "question": "how long does one batch take, uint8 in and out, beside eager PyTorch in the same round?",
        "machine": provenance(threads=measured[0].row.threads),
        "batch": measured[0].row.batch,
        "rows": [
            {
                "row": row.row.label,
                "seconds": [round(value, 6) for value in row.seconds],
                "median_ms": round(row.median_ms, 3),
                "images_per_second": round(row.images_per_second, 2),
                "times_baseline": {
                    name: round(value, 3) for name, value in dataclasses.asdict(ratio(row, measured[0])).items()
                },
                "largest_difference_levels": row.levels,
                "share_of_equal_bytes": round(row.share_equal, 5),
            }
            for row in measured
        ],
    }
