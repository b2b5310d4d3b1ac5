"""The losses of a run, as one PNG (each value faint, with a smoothed line over it) or as CSV. Works during the run."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from starcast.atomic import atomic_path, write_text
from starcast.errors import CheckpointError, printable
from starcast.train.log import read_logged_losses

COLUMNS = 4
Curve = list[tuple[int, float]]


def plot_run(run: Path, target: Path, smoothing: float = 0.9) -> Path:
    """Draw RUN/losses.jsonl into `target`: a table if it ends in .csv, else a PNG of the curves.

    Raises CheckpointError if nothing has been logged.
    """
    lines = read_logged_losses(run / "losses.jsonl")
    if not lines:
        raise CheckpointError(
            f"{printable(run)} has no losses.jsonl with a line in it: give the folder of a run, or wait for its first "
            "line"
        )
    if target.suffix.lower() == ".csv":
        write_text(target, as_csv(lines))
        return target
    _draw(panels(lines), f"{printable(run.resolve().name)}, step {lines[-1]['step']:.0f}", target, smoothing)
    return target


def panels(lines: Sequence[dict[str, float]]) -> dict[str, dict[str, Curve]]:
    """Panel -> curve -> (step, value): `G/latent_cyc` and `G/ref_cyc` share the panel `G cyc`."""
    curves: dict[str, dict[str, Curve]] = {}
    for line in lines:
        for name, value in line.items():
            if name == "step" or not math.isfinite(value):
                continue
            network, _, rest = name.rpartition("/")
            mode, _, term = rest.partition("_")
            panel = f"{network} {term}" if mode in ("latent", "ref") else f"{network} {rest}"
            curve = "reference" if mode == "ref" else mode if mode == "latent" else "value"
            curves.setdefault(panel.strip(), {}).setdefault(curve, []).append((int(line["step"]), float(value)))
    return curves


def as_csv(lines: Sequence[dict[str, float]]) -> str:
    """A row for each logged step and a column for each loss; empty where a loss was not computed."""
    names = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    table = csv.DictWriter(text, names, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(lines)
    return text.getvalue()


def smooth(values: Sequence[float], smoothing: float) -> list[float]:
    """Exponential mean, corrected for its start: after n values, the sum of the weights is 1 - smoothing^n."""
    means, total = [], 0.0
    for count, value in enumerate(values, start=1):
        total = smoothing * total + (1 - smoothing) * value
        means.append(total / (1 - smoothing**count))
    return means


def _draw(panels: dict[str, dict[str, Curve]], title: str, target: Path, smoothing: float) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot, whose figures are global and may need a display

    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 2.8 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    for number, (panel, curves) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, COLUMNS, number, title=panel)
        for colour, (curve, points) in zip(("tab:blue", "tab:orange", "tab:green"), curves.items(), strict=False):
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
            axes.plot(steps, smooth(values, smoothing), color=colour, linewidth=1.6, label=curve)
        axes.grid(alpha=0.3)
        if len(curves) > 1:
            axes.legend(fontsize="small")
    with atomic_path(target) as partial:
        figure.savefig(partial, format="png", dpi=110)
