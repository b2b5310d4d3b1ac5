"""Measure one batch: translate its sources and judge the outputs.

A few sources at a time are translated in all of their styles, so that memory depends neither on the batch nor on the
number of images.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.evaluation.images import READERS, EvaluationDomain
from starcast.benchmarks.evaluation.judges import USUAL, Classify, Judges
from starcast.benchmarks.evaluation.protocol import GENERATED, LABELS, Batch, Pair, latent_draws, noise_draws
from starcast.benchmarks.evaluation.subjects import Floats, Pixels, Subject, to_levels
from starcast.benchmarks.evaluation.work import BatchRecord
from starcast.benchmarks.quality.inception import Prepare
from starcast.export.gate.reference import as_floats
from starcast.images.fit import fit
from starcast.images.read import read_image
from starcast.runtime.stages import open_pool

Number = TypeVar("Number", np.float32, np.float64, np.int64)

GROUP_BYTES = 64 * 2**20  # of the outputs, as floats, that are judged together
SHOWN = 3  # of the best outputs, and of the worst
SHOWN_SIDE = 128  # pixels of such an output, at most: the page shows it
ROWS = 1024  # real images that outputs are compared with at a time


@dataclass(frozen=True)
class Task:
    """A task of one model: what it translates into what, and everything that measuring needs.

    `real` are the target's features by name; `numbers` the model's numbers of the domains. `from_levels`: LPIPS is
    taken from outputs rounded to bytes, as those of a bundle are, and not from a checkpoint's floats.
    """

    pair: Pair
    mode: str
    seed: int
    outputs: int
    source: EvaluationDomain
    target: EvaluationDomain
    number: int  # of the target, in the model
    subject: Subject
    judges: Judges
    prepare: Mapping[str, Prepare]
    real: Mapping[str, Floats]
    real_places: Sequence[int]  # which of the target's training images the rows of `real` are
    left_out: tuple[str, ...]  # a sentence for each of the real images that cannot be read
    classify: Classify | None
    from_levels: bool
    reference_style: Callable[[int], Floats]


def read_fitted(path: Path, size: tuple[int, int]) -> Pixels:
    """An image as the model takes it. Raises ImageError."""
    return fit(read_image(path), size)


def shrink(image: Pixels) -> Pixels:
    """An image as the page shows it: square, and small."""
    side = min(SHOWN_SIDE, max(image.shape[:2]))
    return fit(image, (side, side))


def remember_references(subject: Subject, target: EvaluationDomain, number: int) -> Callable[[int], Floats]:
    """A function from a reference's place to its style; each reference is read and encoded once."""

    @functools.cache
    def style(place: int) -> Floats:
        return subject.reference_style(number, read_fitted(target.held_out[place], subject.size))

    return style


def measure_batch(task: Task, batch: Batch, advance: Callable[[int], None]) -> BatchRecord:
    """Translate a batch in all styles and judge the outputs. `advance` gets the number of outputs just done."""
    styles = _styles(task, batch)
    noise = noise_draws(task.seed, batch)
    height, width = task.subject.size
    together = max(1, GROUP_BYTES // (task.outputs * height * width * 3 * 4))
    groups = [
        _measure_group(
            task, batch.sources[start : start + together], styles[:, start : start + together], noise, advance
        )
        for start in range(0, len(batch.sources), together)
    ]

    def gather(parts: Sequence[NDArray[Number]]) -> NDArray[Number]:
        """(O, n, …) of each group -> (O * N, …)."""
        whole = np.concatenate(parts, axis=1)
        return np.ascontiguousarray(whole.reshape(-1, *whole.shape[2:]))

    def features(way: str) -> Floats:
        if way not in task.prepare:
            return np.empty((0, 0), np.float32)
        return gather([group.features[way] for group in groups])

    distances = gather([group.distances for group in groups])
    rows = gather([group.candidates for group in groups])  # which outputs a group has kept
    kept = np.concatenate([group.kept for group in groups])
    places = np.flatnonzero(rows >= 0)
    starts = np.cumsum([0, *(len(group.kept) for group in groups)])
    of_group = np.repeat(np.arange(len(groups)), [group.distances.shape[1] for group in groups])
    own = starts[np.tile(of_group, task.outputs)] + rows  # place in `kept`, where rows >= 0
    order = places[np.argsort(distances[places], kind="stable")]
    shown = order if len(order) <= 2 * SHOWN else np.concatenate([order[:SHOWN], order[-SHOWN:]])
    return BatchRecord(
        lpips=np.concatenate([group.lpips for group in groups]),
        official=features("official"),
        clean=features("clean"),
        usual=features(USUAL),
        classes=gather([group.classes for group in groups]) if task.classify else np.empty(0, np.int64),
        distances=distances,
        nearest=gather([group.nearest for group in groups]),
        shown=shown,
        shown_outputs=kept[own[shown]],
    )


@dataclass(frozen=True)
class _Group:
    """What was measured of O outputs for each of n sources.

    `kept` are the best and the worst outputs; `candidates` has, for each output, its place in `kept`, or -1.
    """

    lpips: NDArray[np.float64]  # (n, pairs)
    features: dict[str, Floats]  # (O, n, width)
    classes: NDArray[np.int64]  # (O, n)
    distances: NDArray[np.float64]  # (O, n)
    nearest: NDArray[np.int64]  # (O, n)
    candidates: NDArray[np.int64]  # (O, n)
    kept: Pixels  # (K, h, w, 3), small


def _measure_group(
    task: Task, places: Sequence[int], styles: Floats, noise: np.random.RandomState, advance: Callable[[int], None]
) -> _Group:
    """`styles` (O, n, S), or (1, n, layers, S) for a model without a source."""
    shape = count, sources = styles.shape[:2]
    rows = styles.reshape(count * sources, *styles.shape[2:])
    if task.mode == GENERATED:
        levels = task.subject.generate(rows, noise)
        judged = as_floats(levels)
    else:
        images = np.stack([read_fitted(task.source.held_out[place], task.subject.size) for place in places])
        outputs = task.subject.translate(images, rows)
        levels = to_levels(outputs)
        judged = as_floats(levels) if task.from_levels else outputs
    with open_pool(READERS) as pool:
        features = {
            name: task.judges.network(name)(np.stack(list(pool.map(prepare, levels))))
            for name, prepare in task.prepare.items()
        }
    distances, nearest = nearest_rows(features["official"], task.real["official"])
    order = np.argsort(distances, kind="stable")
    best = np.unique(np.concatenate([order[:SHOWN], order[-SHOWN:]]))
    candidates = np.full(len(levels), -1, np.int64)
    candidates[best] = np.arange(len(best))
    classes = np.full(len(levels), -1, np.int64) if task.classify is None else task.classify(levels)
    advance(len(levels))
    return _Group(
        lpips=task.judges.lpips(judged.reshape(*shape, *judged.shape[1:])) if count > 1 else np.empty((sources, 0)),
        features={name: rows.reshape(*shape, -1) for name, rows in features.items()},
        classes=classes.reshape(shape), distances=distances.reshape(shape), nearest=nearest.reshape(shape),
        candidates=candidates.reshape(shape), kept=np.stack([shrink(levels[place]) for place in best]),
    )  # fmt: skip


def _styles(task: Task, batch: Batch) -> Floats:
    """The styles of a batch, (O, N, S), or (1, N, layers, S) for a model without a source."""
    if batch.references is not None:
        return np.stack([[task.reference_style(int(place)) for place in row] for row in batch.references])
    sources = len(batch.sources)
    if task.mode == LABELS:
        style = task.subject.label_style(task.source.name, task.target.name)
        return np.broadcast_to(style, (task.outputs, sources, len(style))).copy()
    draws = latent_draws(task.seed, task.pair, batch)
    return np.stack([task.subject.latent_styles(task.number, sources, draws) for _ in range(task.outputs)])


def nearest_rows(rows: Floats, real: Floats) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The distance of each row to the nearest row of `real`, which may be a memory map, and the place of that row;
    infinity and -1 if `real` is empty."""
    least = np.full(len(rows), np.inf)
    place = np.full(len(rows), -1, np.int64)
    own = rows.astype(np.float64)
    lengths = (own**2).sum(axis=1)
    for start in range(0, len(real), ROWS):
        part = np.asarray(real[start : start + ROWS], np.float64)
        squares = lengths[:, None] + (part**2).sum(axis=1) - 2 * own @ part.T
        best = squares.argmin(axis=1)
        values = squares[np.arange(len(rows)), best]
        closer = values < least
        least[closer], place[closer] = values[closer], best[closer] + start
    return np.sqrt(least.clip(0)), place
