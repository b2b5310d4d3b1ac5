"""The path of a film through styles: a closed loop, or the visits of StarGAN v2's interpolation videos.

The way from one style to the next is that of the official program: a straight line between the vectors, with a sigmoid
that eases in and out, and a rest at the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

_OFFICIAL_FRAMES, _OFFICIAL_REST = 31, 10
_SIGMOID_FROM, _SIGMOID_TO = -5.0, 4.5


@dataclass(frozen=True)
class Stop:
    """A style vector on the path, and the number of frames that show it. It lies between the styles with the
    numbers `start` and `end`, at the fraction `alpha` of the way."""

    style: NDArray[np.float32]
    frames: int
    start: int = 0
    end: int = 0
    alpha: float = 0.0


def alphas(frames: int) -> NDArray[np.float64]:
    """How far each of `frames` frames has gone from one style to the next: 0, a sigmoid's rise, 1 at rest.

    31 frames have the alphas of StarGAN v2's videos: 0, sigmoid(-5), sigmoid(-4.5), …, sigmoid(4.5), then 1 ten times.
    """
    rest = rest_of(frames)
    rise = 1 / (1 + np.exp(-np.linspace(_SIGMOID_FROM, _SIGMOID_TO, frames - 1 - rest)))
    return np.concatenate([[0.0], rise, np.ones(rest)])


def rest_of(frames: int) -> int:
    """How many of `frames` frames are at rest: 10 of 31, as in StarGAN v2's videos."""
    return max(1, round(frames * _OFFICIAL_REST / _OFFICIAL_FRAMES))


def loop(styles: NDArray[np.float32], frames_per_step: int) -> Iterator[Stop]:
    """The stops of a closed loop through `styles` [N, S] or [N, layers, S], N * frames_per_step frames long; a single
    style stands still.

    Consecutive frames with the same style are one stop, so that they are translated once.
    """
    return merge_equal(
        _between(here, there, alpha)
        for here, there in zip(styles, np.roll(styles, -1, axis=0), strict=True)
        for alpha in alphas(frames_per_step)
    )


def merge_equal(styles: Iterable[NDArray[np.float32]]) -> Iterator[Stop]:
    """A stop for each run of equal styles, of which each is shown for one frame."""
    stop: Stop | None = None
    for style in styles:
        if stop is not None and np.array_equal(stop.style, style):
            stop = replace(stop, frames=stop.frames + 1)
            continue
        if stop is not None:
            yield stop
        stop = Stop(style, 1)
    if stop is not None:
        yield stop


def visits(styles: NDArray[np.float32], groups: Sequence[Hashable], frames_per_step: int) -> Iterator[Stop]:
    """The stops of an official video: from each style to the next one of its group, and a cut between groups. A style
    that is alone in its group stands still for as long as a step takes. At the end the last frame rests once more.

    `groups` names the group of each style; the styles of a group are consecutive.
    """
    held: Stop | None = None
    for start, end in _pairs(groups):
        steps = alphas(frames_per_step) if start != end else np.zeros(frames_per_step)
        for alpha, same in itertools.groupby(steps.tolist()):
            if held is not None:
                yield held
            style = _between(styles[start], styles[end], alpha)
            held = Stop(style, len(list(same)), start, end, alpha)
    if held is not None:
        yield replace(held, frames=held.frames + rest_of(frames_per_step))


def count_visits(groups: Sequence[Hashable], frames_per_step: int) -> int:
    """How many frames `visits` has."""
    steps = len(_pairs(groups))
    return steps * frames_per_step + rest_of(frames_per_step) if steps else 0


def _pairs(groups: Sequence[Hashable]) -> list[tuple[int, int]]:
    """(start, end) of each way, as numbers of styles; both are the same for a style that is alone."""
    pairs = []
    for _, group in itertools.groupby(range(len(groups)), key=lambda number: groups[number]):
        numbers = list(group)
        pairs += list(itertools.pairwise(numbers)) or [(numbers[0], numbers[0])]
    return pairs


def _between(here: NDArray[np.float32], there: NDArray[np.float32], alpha: float) -> NDArray[np.float32]:
    # written like this, alphas 0 and 1 give exactly the two styles
    return (here * (1 - alpha) + there * alpha).astype(np.float32)
