"""How a row is timed: the settings, which are recorded beside every figure, and the loops that follow them.

A sample is one whole run from NumPy array to NumPy array, copies included; the next begins when it has ended.
On the CPU a turn is one untimed and one timed run. On a GPU a turn is a window of samples. Its warm-up ends after a
minimum time, once two consecutive windows agree: by then clocks have risen, kernels are compiled and algorithms chosen.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

Clock = Callable[[], float]

P99_FROM = 1000  # samples; below this a 99th percentile rests on ten runs or fewer


@dataclass(frozen=True, kw_only=True)
class Method:
    """Settings of a turn. A window has at least `window_s` and `window_samples`, but never exceeds `longest_s`.

    `device` is torch's name for where the row runs ("cpu" stands in for a GPU in tests without one). With `warm_up_s`
    0 the warm-up is one run. `answer_s` None: no limit.
    """

    device: str = "cuda"
    warm_up_s: float = 0.2
    agreement: float = 0.05  # between the medians of two warm-up windows
    window_s: float = 3.0
    window_samples: int = P99_FROM
    longest_s: float = 20.0
    warm_up_longest_s: float = 20.0
    warm_longest_s: float = 2.0  # the warm-up's limit after a row's first turn
    answer_s: float | None = 300.0  # a row that takes longer to load, compile or run is left out
    split_samples: int = 20  # runs after each window, to time copies and compute separately

    def warm(self) -> Method:
        """The method for every turn after the first."""
        return replace(self, warm_up_longest_s=self.warm_longest_s)

    def for_rounds(self, rounds: int) -> Method:
        """The method for each of so many rounds: their windows add up to one window of this method."""
        return replace(self, window_s=self.window_s / rounds, window_samples=-(-self.window_samples // rounds))


# the untimed run brings a row's weights back into the caches after the other rows' turns
ONE_RUN = Method(device="cpu", warm_up_s=0.0, window_s=0.0, window_samples=1, answer_s=None, split_samples=0)


def warm_up(run: Callable[[], object], method: Method, clock: Clock = time.perf_counter) -> bool:
    """Run until the row is warm. Returns whether it became steady in time."""
    if not method.warm_up_s:
        run()
        return True
    begin, before = clock(), None
    while True:
        window: list[float] = []
        start = clock()
        while not window or clock() - start < method.warm_up_s / 2:
            window.append(time_once(run, clock))
        median = statistics.median(window)
        elapsed = clock() - begin
        if before is not None and elapsed >= method.warm_up_s and agree(before, median, method.agreement):
            return True
        if elapsed >= method.warm_up_longest_s:
            return False
        before = median


def take_samples(run: Callable[[], object], method: Method, clock: Clock = time.perf_counter) -> list[float]:
    """Seconds of each run in one window."""
    samples: list[float] = []
    begin = clock()
    while (elapsed := clock() - begin) < method.longest_s or not samples:
        if elapsed >= method.window_s and len(samples) >= method.window_samples:
            break
        samples.append(time_once(run, clock))
    return samples


def time_once(run: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Seconds of one run."""
    start = clock()
    run()
    return clock() - start


def agree(a: float, b: float, within: float) -> bool:
    """Whether two times differ by at most the share `within` of the smaller."""
    return abs(a - b) <= within * min(a, b)


def percentile_ms(samples: Sequence[float], percentile: float) -> float | None:
    """A percentile of samples in seconds, as milliseconds. None without samples; a 99th needs at least 1000."""
    if not samples or (percentile >= 99 and len(samples) < P99_FROM):
        return None
    return float(np.percentile(samples, percentile)) * 1000


LEAST_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How many rounds to run: at most `rounds`; with `seconds`, as many as fit, but never fewer than three."""

    rounds: int
    seconds: float | None = None

    def after(self, spent: float) -> Pace:
        """The pace that is left if so many seconds were spent before the first round."""
        return self if self.seconds is None else replace(self, seconds=self.seconds - spent)

    def goes_on(self, done: int, elapsed: float) -> bool:
        """Whether to begin another round, `elapsed` seconds after the first began."""
        if done >= self.rounds or not done:
            return done < self.rounds
        if self.seconds is None or done < LEAST_ROUNDS:
            return True
        return elapsed + elapsed / done <= self.seconds

    def too_slow(self, turns: Mapping[str, float], keep: str) -> list[str]:
        """The rows to drop, slowest first, so that three rounds fit. `turns`: each row's seconds in the first round.
        `keep`: the row never to drop."""
        if self.seconds is None:
            return []
        left, dropped = dict(turns), []
        for name in sorted((name for name in turns if name != keep), key=lambda name: -turns[name]):
            if LEAST_ROUNDS * sum(left.values()) <= self.seconds or len(left) <= 2:
                break
            del left[name]
            dropped.append(name)
        return dropped
