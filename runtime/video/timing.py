"""Time as FFmpeg counts it: whole ticks of a time base, rounded once from exact fractions, never floats."""

from __future__ import annotations

from fractions import Fraction
from typing import Any


def as_fraction(value: Any) -> Fraction | None:
    """A rate or time base, from any version of PyAV, as a Fraction; None if it is not set.

    An unset one is None up to PyAV 18 and the rational 0/0 from 19 on: both are falsy.
    """
    return Fraction(value.numerator, value.denominator) if value else None


def ticks(seconds: Fraction, time_base: Fraction) -> int:
    """Seconds as the nearest whole number of ticks."""
    return round(seconds / time_base)


class Clock:
    """Rounds the times of one stream's items to ticks of `time_base` that only go forward, and drops no item.

    - `start_s` seconds are subtracted, so that the earliest stream of a file begins at 0 and the others keep their
      distance.
    - A missing time becomes the end of the previous item.
    - A time that is not later than the previous one becomes one tick after it, or, unless `strict`, the same tick. Each
      time is rounded from its exact value, so a later item that fits is in its place again: nothing adds up.
    """

    def __init__(self, time_base: Fraction, start_s: Fraction = Fraction(0), *, strict: bool = True) -> None:
        self._time_base = time_base
        self._start_s = start_s
        self._step = 1 if strict else 0
        self._last: int | None = None
        self._end_s = Fraction(0)

    def place(self, time_s: Fraction | None, lasts_s: Fraction) -> int:
        """The tick at which an item begins. `time_s`: when it begins in the source, in seconds; `lasts_s`: how long it
        lasts, 0 if unknown."""
        exact = self._end_s if time_s is None else time_s - self._start_s
        placed = ticks(exact, self._time_base)
        if self._last is not None:
            placed = max(placed, self._last + self._step)
        self._last = placed
        self._end_s = exact + max(Fraction(0), lasts_s)
        return placed
