"""Time as FFmpeg counts it: whole ticks of a time base, never floats."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

RESTART_S = 1  # a larger step back means that the clock restarted; a smaller one, that frames are out of order


def as_fraction(value: Any) -> Fraction | None:
    """A rate or time base, from any version of PyAV, as a Fraction; None if it is not set.

    An unset one is None up to PyAV 18 and the rational 0/0 from 19 on: both are falsy.
    """
    return Fraction(value.numerator, value.denominator) if value else None


def ticks(seconds: Fraction, time_base: Fraction) -> int:
    """Seconds as the nearest whole number of ticks."""
    return round(seconds / time_base)


class Clock:
    """Gives the frames or packets of one stream times that only go forward, and drops none of them.

    - `start_s` seconds are subtracted, so that the earliest stream of a file begins at 0 and the others keep their
      distance.
    - A missing time becomes the end of the previous item.
    - A time that is not later than the previous one becomes one tick after it.
    - A time more than a second earlier than the previous one (joined files) becomes the end of the previous item, and
      all later times move by as much.
    """

    def __init__(self, time_base: Fraction, start_s: Fraction = Fraction(0)) -> None:
        self._offset = ticks(start_s, time_base)
        self._restart = ticks(Fraction(RESTART_S), time_base)
        self._last: int | None = None
        self._end = 0

    def place(self, time: int | None, duration: int) -> int:
        """The tick at which an item begins; `duration` is how many ticks it lasts, 0 if unknown."""
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
