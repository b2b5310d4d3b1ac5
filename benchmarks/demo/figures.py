"""The demo's figures of quality: a row a measure."""

from __future__ import annotations

import numpy as np

from starcast.benchmarks.demo.page import Figure
from starcast.benchmarks.quality.creatures import BARS, LONG_BARS, Quality


def quality_figures(quality: Quality) -> list[Figure]:
    """A row a measure, with its bar, and the judges' own accuracy."""
    figures = [_figure(measure, quality) for measure in LONG_BARS]
    patterns = [domain.pattern_accuracy for domain in quality.domains.values() if domain.pattern_accuracy is not None]
    judges = (
        ("the share put into the target domain by the pattern alone, without colour", float(np.mean(patterns or [0]))),
        ("the classifier's accuracy on real held-out images", quality.classifier_accuracy),
        ("the overlap of found with true silhouettes on real images", quality.silhouette_accuracy),
    )
    return figures + [Figure(what=what, value=f"{value:.3f}", bar="—", met=None) for what, value in judges]


def _figure(measure: str, quality: Quality) -> Figure:
    bar, value = LONG_BARS[measure], quality.mean(measure)
    wanted = f"at least {bar.least:g}" if bar.least is not None else f"at most {bar.most:g}"
    sentence = bar.sentence.strip(",")
    if measure not in BARS:
        return Figure(what=sentence, value=f"{value:.2f}", bar=f"{wanted}, after a longer training", met=None)
    return Figure(what=sentence, value=f"{value:.3g}", bar=wanted, met=bar.missed_by(value) is None)
