"""A report: figures under the official keys, their spread over seeds, and what was evaluated how; and its tables."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from starcast.errors import OptionError, printable, reason_of

MADE_BY = "starcast evaluate"
Report = dict[str, Any]
Figures = Mapping[str, float | None]  # by key: `FID_latent/cat2dog`

# how a measure is shown: its title, and the format of its figures
MEASURES: dict[str, tuple[str, str]] = {
    "FID": ("FID", ".2f"),
    "LPIPS": ("LPIPS", ".4f"),
    "cleanFID": ("clean FID", ".2f"),
    "KID": ("KID", ".5f"),
    "usualFID": ("usual FID", ".2f"),
    "accuracy": ("accuracy", ".3f"),
}


def key_of(measure: str, mode: str, pair: str) -> str:
    """The official programs' key of a figure."""
    return f"{measure}_{mode}/{pair}"


def with_means(tasks: Mapping[tuple[str, str], Figures]) -> dict[str, float | None]:
    """The figures of all tasks by key, and each measure's mean over the pairs. `tasks` are by mode and pair.

    A figure that could not be computed is None; a mean leaves it out.
    """
    figures: dict[str, float | None] = {}
    modes = dict.fromkeys(mode for mode, _ in tasks)
    for measure in MEASURES:
        for mode in modes:
            values = {pair: own[measure] for (of, pair), own in tasks.items() if of == mode and measure in own}
            if values:
                figures |= {key_of(measure, mode, pair): value for pair, value in values.items()}
                figures[key_of(measure, mode, "mean")] = _mean(list(values.values()))
    return figures


def summarise(seeds: Mapping[int, Figures], about: Mapping[str, Any]) -> Report:
    """The report: each figure's mean over the seeds; with several seeds, also the standard deviation (of n - 1), as the
    paper gives it, and the figures of every seed."""
    first = next(iter(seeds.values()))
    report: Report = {key: _mean([figures[key] for figures in seeds.values()]) for key in first}
    if len(seeds) > 1:
        report["spread"] = {key: _spread([figures[key] for figures in seeds.values()]) for key in first}
        report["seeds"] = {str(seed): dict(figures) for seed, figures in seeds.items()}
    report["about"] = {"made by": MADE_BY, **about}
    return report


def compare(report: Report, other: Report) -> Report:
    """The report, with the other one under `against`, and its figures minus the other's under `difference`."""
    difference = {key: _minus(value, other.get(key)) for key, value in figures_of(report).items()}
    return {**report, "against": other, "difference": difference}


def figures_of(report: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures of a report, by key."""
    return {key: value for key, value in report.items() if "/" in key}


def digest(facts: Any) -> str:
    """A hash of facts that JSON can hold."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_report(path: Path) -> Report | None:
    """A report that `evaluate` wrote; None for any other file, or none. Raises OptionError for what cannot be read."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OptionError(f"{printable(path)} cannot be read ({reason_of(error)}): check its permissions") from error
    except (ValueError, RecursionError):
        return None
    about = content.get("about") if isinstance(content, dict) else None
    return content if isinstance(about, dict) and about.get("made by") == MADE_BY else None


def tables_of(report: Report) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Title, headers and rows of each table: one for each mode; of a comparison, for each model and the difference."""
    about = report["about"]
    parts: list[tuple[str, Mapping[str, Any], bool]] = [(about["model"]["path"], report, False)]
    if "against" in report:
        other = report["against"]
        parts += [(f"against {other['about']['model']['path']}", other, False)]
        parts += [("difference: the first minus the second", report["difference"], True)]
    for title, figures, is_signed in parts:
        for mode in about["protocol"]["modes"]:
            headers, rows = _cells(figures, mode, is_signed)
            yield f"{printable(title)}, {mode}", headers, rows


def text_of(report: Report) -> str:
    """The figures of a report as tables of text."""
    return "\n\n".join(
        f"{title}\n{tabulate(rows, headers, tablefmt='github', disable_numparse=True, stralign='right')}"
        for title, headers, rows in tables_of(report)
    )


def _cells(report: Mapping[str, Any], mode: str, is_signed: bool) -> tuple[list[str], list[list[str]]]:
    """A column for each measure, a row for each pair and the mean."""
    figures, spread = figures_of(report), report.get("spread", {})
    own = [key for key in figures if key.partition("/")[0].endswith(f"_{mode}")]
    measures = [measure for measure in MEASURES if any(key.startswith(f"{measure}_") for key in own)]
    pairs = sorted(dict.fromkeys(key.partition("/")[2] for key in own), key=lambda pair: pair == "mean")

    def cell(measure: str, pair: str) -> str:
        key = key_of(measure, mode, pair)
        value, form = figures.get(key), MEASURES[measure][1]
        if value is None:
            return "–"
        text = format(value, f"+{form}" if is_signed else form)
        return f"{text} ± {format(spread[key], form)}" if spread.get(key) is not None else text

    rows = [[printable(pair), *(cell(measure, pair) for measure in measures)] for pair in pairs]
    return ["pair", *(MEASURES[measure][0] for measure in measures)], rows


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _spread(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.std(known, ddof=1)) if len(known) > 1 else None


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def without_nan(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Figures with None instead of NaN, which JSON does not have."""
    return {name: None if math.isnan(value) else value for name, value in figures.items()}
