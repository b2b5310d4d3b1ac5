"""Measure a session in its real work, while other threads read, fit and write its images.

An engine that is fast alone may be slow beside them. On two cores, ncnn on both threads took 1.7 ms for an image of
64 px in a loop, and 8 to 11 ms in `video`: each of its hundred parallel parts waits for a thread whose core is decoding
or encoding. On one thread it takes 4.3 ms in `video`, which doubles the frames per second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from statistics import median
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from starcast.errors import EngineError, StarcastError

SLOW_S = 0.1  # for an image that takes longer, reading and writing it hardly matter
_ENOUGH_S = 0.2  # of work, after the first images
_FIRST = 6  # images, while the queues between the stages fill
_LEAST = 4  # images
_MOST = 60  # images

clock = time.perf_counter

Images = NDArray[np.uint8]
Run = Callable[[NDArray[Any]], Images]  # makes a batch of images of a batch of sources, or of styles without a source


class Work(msgspec.Struct, frozen=True):
    """A kind of work, and how to do it with a batch of `batch` images; None: the engine's best.

    `rehearse`: does the first part of the work with the given function and batch, stores nothing, and
    yields after each image that is finished, until it is closed. None: images are made one after the other, with
    nothing beside.
    """

    name: str
    rehearse: Callable[[Run, int], Generator[None]] | None = None
    batch: int | None = None


CALLS = Work("calls")


class Pace(msgspec.Struct, frozen=True):
    """Seconds from one image to the next with all that happens beside, and seconds of the engine alone, per image.
    `in_work` is false where the work failed, so that it says nothing about other work of its kind."""

    seconds: float
    run: float
    in_work: bool = True


def measure_pace(
    work: Work, make: Run, usual_batch: int, sample: NDArray[Any], forget: Callable[[], None] = lambda: None
) -> Pace:
    """The pace of a session in its work. `make` runs it; `sample` is a batch of one, to measure the session alone.
    `forget` empties the session's cache of what it made of images: in real work, each one is new. Raises EngineError.

    Work that ends too soon begins again. Where it makes nothing or fails, because its source is damaged, the session is
    measured alone.
    """
    forget()
    alone = _time(lambda: make(sample))
    if work.rehearse is None or alone > SLOW_S:
        return Pace(alone, alone)
    try:
        return _rehearse(work, make, work.batch or usual_batch, forget) or Pace(alone, alone, in_work=False)
    except EngineError:
        raise
    except (StarcastError, OSError):
        return Pace(alone, alone, in_work=False)


def _rehearse(work: Work, make: Run, batch: int, forget: Callable[[], None]) -> Pace | None:
    """The pace in the middle of the work; None if it makes nothing."""
    calls: list[float] = []

    def run(inputs: NDArray[Any]) -> Images:
        start = clock()
        made = make(inputs)
        calls.append((clock() - start) / len(inputs))
        return made

    first = last = clock()
    done = 0
    with closing(_repeat(work, run, batch, forget)) as images:
        for number, _ in enumerate(images, 1 - max(_FIRST, batch)):
            last, done = clock(), number
            if number <= 0:
                first = last
            elif number >= _MOST or (number >= max(_LEAST, batch) and last - first > _ENOUGH_S):
                break
    if not calls or done < max(_LEAST, batch):
        return None
    return Pace((last - first) / done, median(calls[len(calls) // 4 :]))


def _repeat(work: Work, run: Run, batch: int, forget: Callable[[], None]) -> Generator[None]:
    """The work, again and again, until it is closed or makes nothing."""
    assert work.rehearse is not None
    made = True
    while made:
        made = False
        forget()
        with closing(work.rehearse(run, batch)) as images:
            for _ in images:
                made = True
                yield


def _time(call: Callable[[], object]) -> float:
    start = clock()
    call()
    return clock() - start
