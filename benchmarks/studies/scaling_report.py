"""Cost against size, batch and threads: a table for each axis, and a plot of milliseconds and the share of the engine's
best rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from starcast.atomic import atomic_path
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
    """The rows measured at an axis's settings, grouped by name, in the order of the axis."""
    names = dict.fromkeys(row["name"] for row in result["rows"])
    return [
        row
        for name in names
        for setting in along
        for row in result["rows"]
        if row["name"] == name and all(row[key] == value for key, value in setting.items())
    ]


LABELS = {"size": "side of an image, px", "batch": "images per batch", "threads": "threads"}


def draw_scaling(path: Path, result: dict[str, Any], title: str) -> Path:
    """Write a PNG, atomically. The dashed line is the baseline's first point, scaled by the FLOP per thread."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    figure = Figure(figsize=(4.2 * len(result["axes"]), 7), layout="constrained")
    FigureCanvasAgg(figure)
    plots = figure.subplots(2, len(result["axes"]), squeeze=False)
    names = list(dict.fromkeys(row["name"] for row in result["rows"]))
    for column, (axis, along) in enumerate(result["axes"].items()):
        rows = rows_along(result, along)
        above, below = plots[0][column], plots[1][column]
        for number, name in enumerate(names):
            own = [row for row in rows if row["name"] == name]
            places = [place_on(axis, row) for row in own]
            milliseconds = [row["ms_p50"] / row["batch"] for row in own]
            above.plot(places, milliseconds, marker="o", markersize=4, color=f"C{number}", label=name)
            shared = [(place_on(axis, row), row["share_of_convolution_rate"]) for row in own]
            known = [(place, 100 * share) for place, share in shared if share is not None]
            if known:
                below.plot(*zip(*known, strict=True), marker="o", markersize=4, color=f"C{number}")
            if number == 0:
                above.plot(
                    places,
                    proportional(own),
                    linestyle="--",
                    linewidth=1,
                    color="#6b7280",
                    label="by FLOP",
                )
        for plot in (above, below):
            plot.set_xscale("log", base=2)
            ticks = sorted({place_on(axis, row) for row in rows})
            plot.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            plot.minorticks_off()
            plot.spines[["top", "right"]].set_visible(False)
            plot.grid(alpha=0.25)
        above.set_yscale("log")
        above.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        above.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        above.yaxis.set_minor_locator(NullLocator())
        below.set_ylim(bottom=0)
        below.set_xlabel(LABELS[axis])
    plots[0][0].set_ylabel("milliseconds per image")
    plots[1][0].set_ylabel("% of the engine's best convolution rate")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.legend(*plots[0][0].get_legend_handles_labels(), loc="outside lower left", ncols=2, frameon=False)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=130)
    return path


def place_on(axis: str, row: dict[str, Any]) -> float:
    """Where a row lies on an axis. An image that is not square lies at the side of a square with as many pixels."""
    return float((row["size"][0] * row["size"][1]) ** 0.5 if axis == "size" else row[axis])


def proportional(rows: list[dict[str, Any]]) -> list[float]:
    """Milliseconds per image if the cost grew with the FLOP per image and fell with the threads."""
    work = [row["gflop"] / row["batch"] / row["threads"] for row in rows]
    first = rows[0]["ms_p50"] / rows[0]["batch"]
    return [first * share / work[0] for share in work]
