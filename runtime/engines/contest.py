"""Find the fastest of several sessions on this machine, now.

The best so far meets each challenger in alternating rounds, so that a machine that slows down slows both: a ratio from
one match is reliable, while milliseconds from different minutes are not comparable. The loser is closed at once, so
that at most two models are in memory. The winner is returned still open and warm.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import msgspec

from starcast.errors import EngineError

BUDGET_S = 8.0
MOST_ROUNDS = 7
CLEAR = 1.25  # a match with this ratio is decided after two rounds
AHEAD = 0.98  # to replace the best, a challenger must be below this share of its time: barely faster is not enough


class Closable(Protocol):
    """Anything with a `close` method."""

    def close(self) -> None: ...


Opened = TypeVar("Opened", bound=Closable)


class Figure(msgspec.Struct, frozen=True):
    """Seconds per run, scaled to the machine's pace in the last match; or why it was not measured."""

    seconds: float | None
    left_out: str | None = None


class Outcome(msgspec.Struct, Generic[Opened], frozen=True):
    """The winner, its index, every participant's figure in order, and whether there was time for all of them."""

    winner: Opened
    best: int
    figures: tuple[Figure, ...]
    whole: bool


def contest(
    openers: list[Callable[[], Opened]],
    measure: Callable[[Opened], float],
    *,
    skip: Callable[[int, float], str | None] = lambda number, best_s: None,
    budget_s: float = BUDGET_S,
    clock: Callable[[], float] = time.perf_counter,
) -> Outcome[Opened]:
    """Open each in order, match it against the best so far, and keep the faster.

    `measure` runs one and returns its seconds per image. `skip` gets a number and the best figure so far, and says why
    it is not worth opening, or None.

    The first that opens always takes part. A later one is left out if opening it and one round against the best might
    exceed `budget_s`, judging by the slowest so far. One that fails to open or run is left out with its error; if all
    fail, the first EngineError is raised.
    """
    start = clock()
    whole = True
    figures: list[Figure] = []
    failures: list[EngineError] = []
    best: tuple[int, Opened, float] | None = None  # its index, what was opened, seconds per run
    slowest = slowest_run = 0.0  # seconds to open one and measure it once, and of that to measure it
    try:
        for number, opener in enumerate(openers):
            began = clock()
            reason = None if best is None else skip(number, best[2])
            if reason is not None:
                figures.append(Figure(None, reason))
                continue
            if best is not None and began - start + slowest + 2 * slowest_run > budget_s:
                figures.append(Figure(None, f"not within {budget_s:g} s"))
                whole = False
                continue
            try:
                challenger, first_s, took_s = _warm(opener, measure, clock)
                slowest, slowest_run = max(slowest, clock() - began), max(slowest_run, took_s)
                # a close match must leave time for the remaining ones
                until = start + budget_s - (len(openers) - number - 1) * (slowest + 2 * took_s)
                held_s, new_s = _match(best and best[1], challenger, measure, until, clock) or (None, first_s)
            except EngineError as error:
                failures.append(error)
                figures.append(Figure(None, str(error)))
                continue
            if best is None or held_s is None:
                best = number, challenger, new_s
            else:
                pace = held_s / best[2]
                figures = [Figure(figure.seconds and figure.seconds * pace, figure.left_out) for figure in figures]
                wins = new_s < AHEAD * held_s
                (best[1] if wins else challenger).close()
                best = (number, challenger, new_s) if wins else (best[0], best[1], held_s)
            figures.append(Figure(new_s))
    except BaseException:
        if best is not None:
            best[1].close()
        raise
    if best is None:
        raise failures[0]
    return Outcome(best[1], best[0], tuple(figures), whole)


def _warm(
    opener: Callable[[], Opened], measure: Callable[[Opened], float], clock: Callable[[], float]
) -> tuple[Opened, float, float]:
    """Open one and measure it once. Returns that figure, too, and how long it took: the first run allocates memory, so
    it does not measure speed."""
    opened = opener()
    try:
        start = clock()
        figure = measure(opened)
        return opened, figure, clock() - start
    except BaseException:
        opened.close()
        raise


def _match(
    held: Opened | None,
    new: Opened,
    measure: Callable[[Opened], float],
    until: float,
    clock: Callable[[], float],
) -> tuple[float, float] | None:
    """Each one's least seconds, over rounds that the two start in turn; None without an opponent."""
    if held is None:
        return None
    held_s = new_s = float("inf")
    try:
        for number in range(MOST_ROUNDS):
            began = clock()
            for turn in (False, True) if number % 2 else (True, False):
                if turn:
                    held_s = min(held_s, measure(held))
                else:
                    new_s = min(new_s, measure(new))
            decided = number > 0 and max(held_s, new_s) > CLEAR * min(held_s, new_s)
            if decided or 2 * clock() - began > until:  # another round takes as long
                break
    except BaseException:
        new.close()
        raise
    return held_s, new_s
