"""A result as a chart: how many times as fast as eager PyTorch, a bar a row."""

from __future__ import annotations

from pathlib import Path

from starcast.atomic import atomic_path
from starcast.benchmarks.bench.measure import ratio
from starcast.benchmarks.bench.result import Result

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
    names = [f"{row.row.name} *" if row.row.name in table.notes else row.row.name for row in rows]
    axes.barh(names, medians, color=colours, height=0.68)
    axes.errorbar(medians, range(len(rows)), xerr=reach, fmt="none", ecolor="#00000066", elinewidth=1, capsize=2)
    for place, (row, paired) in enumerate(zip(rows, ratios, strict=True)):
        label = (
            f"  {paired.median:.2f} × · {row.median_ms:.0f} ms"
            if row.median_ms >= 10
            else (f"  {paired.median:.2f} × · {row.median_ms:.1f} ms")
        )
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
