"""What is translated into what, in which styles: the official StarGAN v2's protocol, as a function of the seed alone.

Every held-out image of each domain is translated into every other domain, ten times by default: with a new latent each
time (psi 1), or with a reference from the target's held-out images. Sources come in batches, of 32 by default. The size
of a batch matters in two places only. LPIPS is a mean over batches, in which a short last batch counts as a full one.
References come in shuffled batches, and what is left over is dropped before the next shuffle.

Nothing here depends on what was measured before, so an interrupted evaluation can go on at any batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.options import STYLE_MODES

LATENT, REFERENCE = STYLE_MODES
LABELS, GENERATED = "labels", "generated"  # modes of models that have neither: one output for each image
ALL = "all"  # the one domain of a model that makes images without a source
_LATENTS, _REFERENCES, _NOISE = 0, 1, 3  # kinds of random streams; 2 is KID's


@dataclass(frozen=True)
class Pair:
    """A task: translate the images of one domain into another; both are places in the list of evaluated domains."""

    source: int
    target: int
    name: str  # `cat2dog`, as in the official reports


@dataclass(frozen=True)
class Batch:
    """Sources of a task that are translated together: places in the source domain's held-out images.

    `references[output, source]` are places in the target's held-out images; None unless styles come from references.
    """

    number: int
    sources: tuple[int, ...]
    references: NDArray[np.int64] | None


def pairs_of(names: Sequence[str]) -> list[Pair]:
    """All ordered pairs of different domains, by target, as the official program goes through them. A single domain is
    paired with itself; ALL is no pair of domains, and keeps its name."""
    if len(names) == 1:
        return [Pair(0, 0, names[0] if names[0] == ALL else f"{names[0]}2{names[0]}")]
    places = [
        (source, target) for target in range(len(names)) for source in range(len(names)) if source != target
    ]  # fmt: skip
    titles = [f"{names[source]}2{names[target]}" for source, target in places]
    if len(set(titles)) < len(titles):  # such as a, b2c, a2b and c
        titles = [f"{source}-{title}" for (source, _), title in zip(places, titles, strict=True)]
    return [Pair(*place, title) for place, title in zip(places, titles, strict=True)]


def batches_of(count: int, size: int) -> list[tuple[int, ...]]:
    """The places of `count` sources in batches; the last may be short."""
    return [tuple(range(start, min(start + size, count))) for start in range(0, count, size)]


def task_batches(
    pair: Pair, pairs: Sequence[Pair], held_out: Sequence[int], *, mode: str, outputs: int, size: int, seed: int
) -> list[Batch]:
    """The batches of a task. `held_out`: how many held-out images each domain has."""
    places = batches_of(held_out[pair.source], size)
    if mode != REFERENCE:
        return [Batch(number, sources, None) for number, sources in enumerate(places)]
    stream = reference_batches(held_out[pair.target], size, seed, pair.target)
    # the official program goes on in the same stream from one source domain to the next
    earlier = [other for other in pairs[: pairs.index(pair)] if other.target == pair.target]
    for _ in range(sum(len(batches_of(held_out[other.source], size)) for other in earlier) * outputs):
        next(stream)
    return [
        Batch(number, sources, np.stack([next(stream)[: len(sources)] for _ in range(outputs)]))
        for number, sources in enumerate(places)
    ]


def reference_batches(count: int, size: int, seed: int, target: int) -> Iterator[NDArray[np.int64]]:
    """Shuffled places of `count` references in full batches, without end. What is left of a shuffle is dropped. If
    there are fewer references than a batch, they are shuffled again until the batch is full."""
    draws = np.random.RandomState([seed, _REFERENCES, target])
    while True:
        order = draws.permutation(count)
        while len(order) < size:
            order = np.concatenate([order, draws.permutation(count)])
        full = len(order) // size if count >= size else 1
        for start in range(0, full * size, size):
            yield order[start : start + size]


def latent_draws(seed: int, pair: Pair, batch: Batch) -> np.random.RandomState:
    """The random stream that a batch's latents come from, output by output."""
    return np.random.RandomState([seed, _LATENTS, pair.target, pair.source, batch.number])


def noise_draws(seed: int, batch: Batch) -> np.random.RandomState:
    """The random stream of a batch's noise, for models without a source."""
    return np.random.RandomState([seed, _NOISE, batch.number])
