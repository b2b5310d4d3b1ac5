"""A part of a film: the frames from one time to another, with the sound, subtitles and chapters of that time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Set
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from av.packet import Packet

from starcast.errors import OptionError, VideoError
from starcast.runtime.video.input.film import Film, Frame, Sound
from starcast.runtime.video.input.film_view import FilmView
from starcast.runtime.video.timing import as_fraction, ticks

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from starcast.runtime.video.input.film import Item
    from starcast.runtime.video.input.trim_options import TrimOptions
    from starcast.runtime.video.timeline.key_times import KeyTime

    FrameTimes = Callable[[int], Sequence[Fraction]]  # of frames 0 to a number, as far as there are some, in seconds

_BEFORE_S = Fraction(1)  # of sound that the tracks get before the start: they cut exactly what they need
_BEHIND_S = Fraction(1)  # by which the frames are past the end, once the sound is, where reading stops
_LONGEST_BEHIND_S = Fraction(10)  # no format stores sound further from the frames of its time
_HELD_S = Fraction(1, 10)  # a frame that is still shown for longer than this at the start is kept
_ROUGH_S = Fraction(1)  # by which a stated duration may be wrong


class Trimmed(FilmView):
    """The frames of `film` that begin at `begin_s` or later, and before `end_s`, in seconds of the film.

    `begin_s` is the new 0. A frame that is still shown then for more than a tenth of a second begins there.
    """

    frames: int = 0
    start_s: Fraction = Fraction(0)
    begins_s: Fraction = Fraction(0)
    is_trimmed: bool = True
    lasts_s: Fraction | None = None
    ends_early: bool = False
    is_followed: bool = False

    def __init__(self, film: Film, begin_s: Fraction, end_s: Fraction | None) -> None:
        super().__init__(film)
        self._begin_s, self._end_s = begin_s, end_s
        self.start_s = film.start_s + begin_s
        self.lasts_s = None if end_s is None else end_s - begin_s
        self.begins_s = max(Fraction(0), film.begins_s - begin_s)
        counts = []
        if film.frames:
            counts.append(film.frames - round(max(Fraction(0), begin_s - film.begins_s) * film.rate))
        if self.lasts_s is not None:
            counts.append(math.ceil((self.lasts_s - self.begins_s) * film.rate))
        self.frames = max(1, min(counts)) if counts else 0  # a part without a frame is refused when it is read

    @property
    def chapters(self) -> list[Any]:
        """Those of the part, cut at its ends."""
        begin = self.start_s
        end = None if self.lasts_s is None else begin + self.lasts_s
        kept = []
        for chapter in self.film.chapters:
            tick = chapter["time_base"]
            first = max(chapter["start"], math.ceil(begin / tick)) if tick else chapter["start"]
            last = min(chapter["end"], math.floor(end / tick)) if tick and end is not None else chapter["end"]
            if first < last:
                kept.append({**chapter, "start": first, "end": last})
        return kept

    def seek(self, time_s: Fraction) -> None:
        self.film.seek(self._begin_s + time_s)

    def read(self, audio_to_decode: Set[int] = frozenset()) -> Iterator[Item]:
        sounds = {stream.index for stream in self.film.others if stream.type == "audio"}
        before: Frame | None = None
        kept = 0
        is_whole = False
        with closing(_generator(self.film.read(audio_to_decode))) as items:
            for item in items:
                if not isinstance(item, Frame):
                    sounds -= self._ended(item)
                    if self._is_needed(item):
                        yield item
                    continue
                time_s = item.pts * self.film.time_base
                if time_s < self._begin_s:
                    before = item
                elif self._end_s is None or time_s < self._end_s:
                    if before is not None and not kept and time_s - self._begin_s > _HELD_S:
                        kept += 1
                        yield self._held(before, time_s)
                    kept += 1
                    yield self._moved(item, time_s)
                else:
                    is_whole = True
                    if before is not None and not kept:
                        kept += 1
                        yield self._held(before, self._end_s)
                    behind = time_s - self._end_s
                    if not self.film.others or behind > (_BEHIND_S if not sounds else _LONGEST_BEHIND_S):
                        break
                if kept:
                    before = None
        if not is_whole:  # what lies behind the part is nobody's loss
            self.ends_early, self.is_followed = self.film.ends_early, self.film.is_followed
        if before is not None and not kept and self._shown_until(before) > self._begin_s:
            kept += 1
            yield self._held(before, self._shown_until(before))
        if not kept and self._end_s is not None and self.film.begins_s >= self._end_s:
            raise VideoError(
                f"{self.name} shows its first frame at {float(self.film.begins_s):.2f} s, which is not before --end: "
                "give a later time"
            )
        if not kept:
            raise VideoError(f"{self.name} ends before --start, so nothing is left of it: give an earlier time")

    def _moved(self, frame: Frame, time_s: Fraction) -> Frame:
        tick = self.film.time_base
        left = frame.duration if self._end_s is None else ticks(self._end_s - time_s, tick)
        return replace(frame, pts=ticks(time_s - self._begin_s, tick), duration=max(1, min(frame.duration, left)))

    def _held(self, frame: Frame, until_s: Fraction) -> Frame:
        """A frame that begins before the part, and is shown in it until `until_s`."""
        return replace(frame, pts=0, duration=max(1, ticks(until_s - self._begin_s, self.film.time_base)))

    def _shown_until(self, frame: Frame) -> Fraction:
        return (frame.pts + frame.duration) * self.film.time_base

    def _times(self, item: Sound | Packet[Any]) -> tuple[Fraction, Fraction] | None:
        """When sound or a packet begins and ends, in seconds of the film; None if unknown."""
        base = as_fraction(item.frame.time_base if isinstance(item, Sound) else item.time_base)
        if isinstance(item, Sound):
            time, lasts_s = item.frame.pts, Fraction(item.frame.samples, item.frame.sample_rate)
        else:
            time = item.dts if item.pts is None else item.pts
            lasts_s = (item.duration or 0) * (base or Fraction(0))
        if time is None or not base:
            return None
        begins_s = time * base - self.film.start_s
        return begins_s, begins_s + lasts_s

    def _ended(self, item: Sound | Packet[Any]) -> set[int]:
        """The stream of `item`, if it is past the end."""
        times = self._times(item)
        if times is None or self._end_s is None or times[0] < self._end_s:
            return set()
        return {item.stream if isinstance(item, Sound) else item.stream.index}

    def _is_needed(self, item: Sound | Packet[Any]) -> bool:
        """Whether the tracks need an item. Subtitles that begin before the part begin with it instead."""
        times = self._times(item)
        if times is None or not (isinstance(item, Sound) or item.stream.type in ("audio", "subtitle")):
            return True
        begins_s, ends_s = times
        if self._end_s is not None and begins_s >= self._end_s:
            return False
        if isinstance(item, Sound) or item.stream.type != "subtitle":
            return ends_s > self._begin_s - _BEFORE_S
        if ends_s <= self._begin_s and begins_s < self._begin_s:
            return False
        tick = as_fraction(item.time_base)
        if tick and item.pts is not None and item.duration:
            first = max(item.pts, math.ceil(self.start_s / tick))
            last = item.pts + item.duration
            if self._end_s is not None:
                last = min(last, math.floor((self.film.start_s + self._end_s) / tick))
            item.duration = max(1, last - first)
            if first != item.pts:
                item.pts = item.dts = first
        return True


def trim(film: Film, options: TrimOptions, frame_times: FrameTimes) -> Film:
    """The part of a film that the options ask for. `frame_times` finds when frames are shown, in seconds.

    Raises OptionError if the film is known not to have such a part.
    """
    start, end = options.range
    if start is None and end is None:
        return film
    duration_s = film.duration_s
    numbers = [int(time.amount) for time in (start, end) if time is not None and time.unit == "f"]
    times = frame_times(max(numbers)) if numbers else []

    def seconds(time: KeyTime) -> Fraction | None:
        if time.unit == "f":
            return times[int(time.amount)] if time.amount < len(times) else None
        return time.seconds(film.rate, duration_s)

    begin_s = Fraction(0) if start is None else seconds(start)
    if start is not None and begin_s is None:
        raise OptionError(
            f"{film.name} has only {len(times)} frames, counted from 0: give --start an earlier one than {start.text}"
        )
    assert begin_s is not None
    end_s = None if end is None else seconds(end)
    if start is not None and duration_s is not None and start.unit == "s" and begin_s >= duration_s + _ROUGH_S:
        raise OptionError(
            f"{film.name} is {float(duration_s):.2f} s long: give --start an earlier time than {start.text}"
        )
    if start is not None and end is not None and end_s is not None and begin_s >= end_s:
        raise OptionError(f"--start {start.text} is not before --end {end.text} in {film.name}: give an earlier start")
    return Trimmed(film, begin_s, end_s)


def _generator(items: Iterator[Item]) -> Generator[Item]:
    yield from items
