"""Rows at several settings: their arithmetic, and a table for each axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from starcast.benchmarks.bench.inputs import size_text
from starcast.benchmarks.studies.convolution import Rate


def with_arithmetic(
    row: dict[str, Any], flop_per_image: int, rates: dict[tuple[str, str, int], Rate]
) -> dict[str, Any]:
    """A row with the FLOP of its batch, its GFLOP/s, and their share of the engine's convolution rate."""
    flop = flop_per_image * row["batch"]
    reached = flop / row["ms_p50"] / 1e6
    rate = rates.get((row["engine"], row["precision"], row["threads"]))
    return {
        **row,
        "gflop": round(flop / 1e9, 4),
        "gflop_per_s": round(reached, 2),
        "share_of_convolution_rate": None if rate is None else round(reached / rate.gflop_per_s, 3),
    }


def lines_of(result: dict[str, Any]) -> list[str]:
    """A table for each axis, for the console."""
    lines = []
    for axis, along in result["axes"].items():
        cells = [
            [
                row["name"],
                size_text(row["size"]) if axis == "size" else row[axis],
                f"{row['ms_p50'] / row['batch']:.1f}",
                f"{row['ratio_vs_eager']:.2f}",
                f"{row['gflop_per_s']:.0f}",
                "—" if row["share_of_convolution_rate"] is None else f"{row['share_of_convolution_rate']:.0%}",
            ]
            for row in rows_along(result, along)
        ]
        headers = ["", axis, "ms per image", "times eager", "GFLOP/s", "of one convolution's"]
        lines += ["", tabulate(cells, headers=headers, disable_numparse=True)]
    return lines


def rows_along(result: dict[str, Any], along: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows at an axis's settings, by name, in the order of the axis."""
    names = dict.fromkeys(row["name"] for row in result["rows"])
    return [
        row
        for name in names
        for setting in along
        for row in result["rows"]
        if row["name"] == name and all(row[key] == value for key, value in setting.items())
    ]
