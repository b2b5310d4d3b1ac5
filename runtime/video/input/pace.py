"""A film at a constant rate: frames are dropped or repeated, each output frame showing what the film shows then."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from starcast.runtime.video.input.film import Film, Frame
from starcast.runtime.video.input.film_view import FilmView

if TYPE_CHECKING:
    from starcast.runtime.video.input.film import Item

_HALF = Fraction(1, 2)


class Paced(FilmView):
    """`film` at `rate` frames per second, whose time base is one frame.

    A frame's time is rounded to a whole number of output frames, half up, from its exact value: nothing adds up. Of
    several frames in one place, the last is shown. A frame is repeated until the next one's place. FFmpeg's filter fps
    does the same.
    """

    frames: int = 0
    rate: Fraction = Fraction(1)
    time_base: Fraction = Fraction(1)
    last_changes: Sequence[str] = ()

    def __init__(self, film: Film, rate: Fraction) -> None:
        super().__init__(film)
        self.rate, self.time_base = rate, 1 / rate
        self.frames = max(1, round(film.frames / film.rate * rate)) if film.frames else 0
        self.dropped = self.repeated = 0

    def read(self, audio_to_decode: Set[int] = frozenset()) -> Iterator[Item]:
        waiting: Frame | None = None
        first: int | None = None  # place of all
        place = 0  # of the frame that waits
        for item in self.film.read(audio_to_decode):
            if not isinstance(item, Frame):
                yield item
                continue
            found = self._place(item.pts)
            if waiting is not None:
                yield from self._repeat(waiting, place, found)
            waiting, place = item, found if waiting is None else max(place, found)
            first = place if first is None else first
        if waiting is not None:
            end = self._place(waiting.pts + waiting.duration)
            yield from self._repeat(waiting, place, max(end, place + (place == first)))
        self.last_changes = [
            *self.film.last_changes,
            f"is written with {_shown(self.rate)} frames per second: {_frames(self.dropped)} dropped, "
            f"{_frames(self.repeated)} repeated",
        ]

    def _place(self, pts: int) -> int:
        return math.floor(pts * self.film.time_base * self.rate + _HALF)

    def _repeat(self, frame: Frame, begin: int, end: int) -> Iterator[Frame]:
        self.dropped += end <= begin
        self.repeated += max(0, end - begin - 1)
        for place in range(begin, end):
            yield replace(frame, pts=place, duration=1)


def _frames(count: int) -> str:
    return "1 frame is" if count == 1 else f"{count} frames are"


def _shown(rate: Fraction) -> str:
    return str(rate.numerator) if rate.denominator == 1 else f"{float(rate):.3f}".rstrip("0")
