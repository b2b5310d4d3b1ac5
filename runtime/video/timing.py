"""Time as FFmpeg counts it: whole ticks of a time base, never floats."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

RESTART_S = 1  # a step back by more than this is a clock that restarted; by less, a few frames out of order


def as_fraction(value: Any) -> Fraction | None:
    """A rate or time base of any PyAV as a Fraction; None if it is not set.

    Up to PyAV 18 an unset one is None, from 19 on a rational of 0/0: both are false.
    """
    return Fraction(value.numerator, value.denominator) if value else None


def ticks(seconds: Fraction, time_base: Fraction) -> int:
    """The nearest whole number of ticks."""
    return round(seconds / time_base)


class Clock:
    """Gives the frames or packets of one stream times that only go forward, and drops none of them.

    - `start_s` seconds are subtracted, so that the earliest stream of a file begins at 0 and the others keep their
      distance.
    - A missing time becomes the end of the item before.
    - A time that is not later than the one before becomes one tick after it.
    - A time more than a second before the one before (joined files) becomes the end of the item before, and everything
      later moves by as much.
    """

    def __init__(self, time_base: Fraction, start_s: Fraction = Fraction(0)) -> None:
        self._offset = ticks(start_s, time_base)
        self._restart = ticks(Fraction(RESTART_S), time_base)
        self._last: int | None = None
        self._end = 0

    def place(self, time: int | None, duration: int) -> int:
        """The tick at which an item begins; `duration` is how many ticks it lasts, 0 if that is unknown."""
        placed = self._end if time is None else time - self._offset
        if self._last is not None and placed <= self._last:
            if self._last - placed > self._restart and time is not None:
                placed = max(self._end, self._last + 1)
                self._offset = time - placed
            else:
                placed = self._last + 1
        self._last = placed
        self._end = placed + max(0, duration)
        return placed
