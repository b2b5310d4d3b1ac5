"""Time as FFmpeg has it: whole ticks of a time base, never floats."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

RESTART_S = 1  # a step back of more than this is a clock that started again, less is a disorder of a few frames


def as_fraction(value: Any) -> Fraction | None:
    """A rate or time base of any PyAV as Fraction; None where it is not set.

    Up to PyAV 18 an unset one is None, from 19 on it is a rational of 0/0: both are false.
    """
    return Fraction(value.numerator, value.denominator) if value else None


def ticks(seconds: Fraction, time_base: Fraction) -> int:
    """The nearest whole number of ticks."""
    return round(seconds / time_base)


class Clock:
    """Gives the frames or packets of one stream times that only go forward, and leaves none of them out.

    - `start_s` seconds are taken off, so that the earliest stream of a file begins at 0 and all keep their distance.
    - A time that is missing: the end of what came before.
    - A time that is not later than the one before: one tick after it.
    - A time more than a second before the one before (joined files): the end of what came before, and everything
      later is moved by as much.
    """

    def __init__(self, time_base: Fraction, start_s: Fraction = Fraction(0)) -> None:
        self._offset = ticks(start_s, time_base)
        self._restart = ticks(Fraction(RESTART_S), time_base)
        self._last: int | None = None
        self._end = 0

    def place(self, time: int | None, duration: int) -> int:
        """The tick at which it begins; `duration` is how many it lasts, 0 where that is not known."""
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
