"""How a row is timed on a card: its settings, which stand beside every figure, and the loops that keep to them.

A warm-up ends when it has lasted, and two windows in a row agree: clocks have risen, kernels are compiled, algorithms
chosen. Then samples are taken until there are enough of them and enough time has passed. A sample is one whole run from
numpy's bytes to numpy's bytes, copies inside, the next begun when the last has ended.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

Clock = Callable[[], float]

P99_FROM = 1000  # samples, below which a 99th percentile is the outcome of ten runs or fewer


@dataclass(frozen=True, kw_only=True)
class Method:
    """`device` is torch's name for what is timed ("cpu" stands in for a card where tests have none). A window is what a
    row is given at a time; `longest_s` ends a window and `warm_up_longest_s` a warm-up that does not get there."""

    device: str = "cuda"
    warm_up_s: float = 0.2
    agreement: float = 0.05  # of the medians of two windows of the warm-up
    window_s: float = 3.0
    window_samples: int = P99_FROM
    longest_s: float = 20.0
    warm_up_longest_s: float = 20.0
    warm_longest_s: float = 2.0  # the same of a row that had its turn before
    answer_s: float = 300.0  # what takes longer to load, to compile or to run is left out
    split_samples: int = 20  # runs whose copies and compute are timed apart, after each window

    def warm(self) -> Method:
        """For the windows after the first."""
        return replace(self, warm_up_longest_s=self.warm_longest_s)

    def for_rounds(self, rounds: int) -> Method:
        """Windows that together make up this one."""
        return replace(self, window_s=self.window_s / rounds, window_samples=-(-self.window_samples // rounds))


def warmed_up(run: Callable[[], object], method: Method, clock: Clock = time.perf_counter) -> bool:
    """Run until it is warm; whether it became steady in time."""
    begun, before = clock(), None
    while True:
        window: list[float] = []
        start = clock()
        while not window or clock() - start < method.warm_up_s / 2:
            window.append(seconds_of(run, clock))
        median = statistics.median(window)
        elapsed = clock() - begun
        if before is not None and elapsed >= method.warm_up_s and agree(before, median, method.agreement):
            return True
        if elapsed >= method.warm_up_longest_s:
            return False
        before = median


def sampled(run: Callable[[], object], method: Method, clock: Clock = time.perf_counter) -> list[float]:
    """Seconds of single runs, one window of them."""
    samples: list[float] = []
    begun = clock()
    while (elapsed := clock() - begun) < method.longest_s or not samples:
        if elapsed >= method.window_s and len(samples) >= method.window_samples:
            break
        samples.append(seconds_of(run, clock))
    return samples


def seconds_of(run: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """How long one run takes."""
    start = clock()
    run()
    return clock() - start


def agree(a: float, b: float, within: float) -> bool:
    """Whether two times differ by less than a part of the smaller."""
    return abs(a - b) <= within * min(a, b)


def percentile_ms(samples: Sequence[float], percentile: float) -> float | None:
    """In milliseconds, of seconds; None for a 99th of too few samples, and of none."""
    if not samples or (percentile >= 99 and len(samples) < P99_FROM):
        return None
    return float(np.percentile(samples, percentile)) * 1000
