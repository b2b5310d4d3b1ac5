"""One clock for all streams of a file: where its times jump, every stream moves by the same offset.

Recordings that were joined, cut or broken off have clocks that start again or jump ahead. If each stream closed its own
gap, sound and video would drift apart by the difference of their lengths at every join. So a jump is handled as in
FFmpeg's command line: one offset is added to the times of all streams from there on.

The packets that follow show whether it is a jump, a single wrong time or a real gap:

- The stream's next packets continue where it was: the time was wrong. It is forgotten, and nothing else moves.
- Another stream is at that time too, or the step ahead is short: a real gap. It stays.
- Otherwise the clock jumped. The streams go on without overlap, and keep the distances that they have after the jump.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from typing import Generic, TypeVar

Item = TypeVar("Item")

LONGEST_GAP_S = Fraction(10)  # FFmpeg's dts_delta_threshold: formats whose clock may jump have no longer gaps
ABSURD_GAP_S = Fraction(3600 * 30)  # FFmpeg's dts_error_threshold: no format has longer gaps
SLACK_S = Fraction(1, 10)  # a step back by less is packets out of order, not a clock that starts again
_REORDERED = 17  # packets by which a frame may precede those shown before it: 16 in H.264 and HEVC
_TOGETHER_S = Fraction(1)  # streams that are closer are at the same time
_WITNESSES = 4  # packets of the same stream that tell a wrong time from a jump
_WITNESSES_WITHIN = 500  # packets of all streams in which these are looked for
_JOIN_S = Fraction(2)  # how far the streams are read ahead to see where each begins after a jump
_JOIN_WITHIN = 1000  # packets
_REMEMBERED = 4  # offsets to which the clock may return


@dataclass(frozen=True)
class Stamp:
    """A packet's times in its file, in seconds. `leads`: it is sound or video, which go on all the time.

    `slack`: how far the times of its stream may step back in a healthy file. `position`: its byte in the file.
    """

    stream: int
    decoded: Fraction
    shown: Fraction
    lasts: Fraction
    leads: bool = True
    slack: Fraction = SLACK_S
    position: int | None = None

    @property
    def ahead(self) -> Fraction:
        """How much earlier than shown a packet may be decoded in a film without gaps."""
        return max(_TOGETHER_S, _REORDERED * self.lasts)

    @property
    def about(self) -> Fraction:
        """When it is decoded, or, right after a gap, where encoders write times of before the gap, nearly so."""
        return max(self.decoded, self.shown - self.ahead)


@dataclass(frozen=True)
class Placed(Generic[Item]):
    """A packet, and the seconds to add to its times, None if they are wrong.

    `is_shown_wrong`: only the time when it is shown is.
    """

    item: Item
    stamp: Stamp | None
    offset: Fraction | None
    is_shown_wrong: bool = False


@dataclass
class _Progress:
    """How far a stream is, in seconds after all offsets."""

    part: int  # the number of clock jumps it has gone through
    next: Fraction  # when its next packet is due
    end: Fraction  # when its last frame or sound ends

    def advance(self, decoded: Fraction, shown_until: Fraction, lasts: Fraction) -> None:
        self.next = max(self.next, decoded + lasts)
        self.end = max(self.end, shown_until)


class OneClock(Generic[Item]):
    """Gives packets their offsets, in the order in which they come.

    `jumps`: the format allows its clock to jump ahead (AVFMT_TS_DISCONT); in any format the clock may start again.
    """

    def __init__(self, *, jumps: bool) -> None:
        self._longest_gap = LONGEST_GAP_S if jumps else ABSURD_GAP_S
        self._offsets = [Fraction(0)]  # of each part
        self._begins: list[int | None] = [None]  # the byte at which each part begins
        self._streams: dict[int, _Progress] = {}
        self._ahead: deque[tuple[Item, Stamp | None]] = deque()
        self._rest: Iterator[tuple[Item, Stamp | None]] = iter(())

    @property
    def end_s(self) -> Fraction:
        """When the last frame or sound so far ends, in seconds after all offsets."""
        return max((progress.end for progress in self._streams.values()), default=Fraction(0))

    def place(self, items: Iterable[Item], stamp_of: Callable[[Item], Stamp | None]) -> Iterator[Placed[Item]]:
        """Every item, in order, with its offset. `stamp_of` reads its times; None if it has none. Reads ahead where
        times jump."""
        self._rest = ((item, stamp_of(item)) for item in items)
        try:
            while True:
                entry = self._ahead.popleft() if self._ahead else next(self._rest, None)
                if entry is None:
                    return
                item, stamp = entry
                if stamp is None:
                    yield Placed(item, None, self._offsets[-1])
                    continue
                right = self._correct(stamp) if stamp.leads else stamp
                yield Placed(item, right, self._offset_for(right), is_shown_wrong=right.shown != stamp.shown)
        finally:
            self._rest = iter(())  # it holds the file, which may hold this clock
            self._ahead.clear()

    def _correct(self, stamp: Stamp) -> Stamp:
        """The packet's stamp, made plausible where it is shown too long before or after it is decoded."""
        if abs(stamp.shown - stamp.decoded) <= stamp.ahead:
            return stamp
        later = [witness.shown for witness in self._witnesses(stamp, _REORDERED)]
        if stamp.shown < stamp.decoded or not later or stamp.shown > max(later) + stamp.ahead:
            return replace(stamp, shown=stamp.decoded)
        return replace(stamp, decoded=max(stamp.decoded, min(stamp.shown, *later) - stamp.slack))  # after a gap

    def _offset_for(self, stamp: Stamp) -> Fraction | None:
        if not stamp.leads:
            return self._offsets[self._part_at(stamp)]
        progress = self._streams.get(stamp.stream)
        part = self._first_part(stamp) if progress is None else self._part_of(stamp, progress)
        if part is None:
            if progress is not None:
                progress.advance(progress.next, progress.end + stamp.lasts, stamp.lasts)
            return None
        offset = self._offsets[part]
        decoded = stamp.decoded + offset
        until = stamp.shown + offset + stamp.lasts
        if progress is None:
            self._streams[stamp.stream] = _Progress(part, decoded + stamp.lasts, until)
        elif part != progress.part:
            self._streams[stamp.stream] = _Progress(part, decoded + stamp.lasts, max(progress.end, until))
        else:
            progress.advance(decoded, until, stamp.lasts)
        return offset

    def _part_at(self, stamp: Stamp) -> int:
        """The part in which a packet lies by its position in the file; the newest if positions are unknown."""
        part = len(self._offsets) - 1
        while part and self._lies_before(stamp, part):
            part -= 1
        return part

    def _lies_before(self, stamp: Stamp, part: int) -> bool:
        begins = self._begins[part]
        return begins is not None and stamp.position is not None and stamp.position < begins

    def _first_part(self, stamp: Stamp) -> int | None:
        """The part of a stream's first packet; None if its time is wrong."""
        part = self._part_at(stamp)
        witnesses = [later.about for later in self._witnesses(stamp)]
        together = bool(witnesses) and max(witnesses) - min(witnesses) < LONGEST_GAP_S
        if together and max(witnesses) < stamp.decoded - LONGEST_GAP_S:
            return None
        now = max((other.next for other in self._streams.values() if other.part == part), default=None)
        apart = 0 if now is None else abs(stamp.decoded + self._offsets[part] - now)
        if now is None or apart <= self._longest_gap:
            return part
        if any(abs(later + self._offsets[part] - now) < LONGEST_GAP_S for later in witnesses):
            return None
        return self._begin_part(stamp, now - stamp.shown)  # a clock of its own

    def _part_of(self, stamp: Stamp, progress: _Progress) -> int | None:
        """The part that a packet belongs to, in a stream that has started; None if its time is wrong."""
        near = stamp.slack + 2 * stamp.lasts
        step = stamp.decoded + self._offsets[progress.part] - progress.next
        fits = -stamp.slack <= step <= near
        for part in range(progress.part + 1, len(self._offsets)):  # other streams have gone through a jump already
            if self._fits_new_part(stamp, progress, part) and not (fits and self._jumps_soon(stamp)):
                return part
        if fits:
            return progress.part
        if step > 0 and self._others_are_at(stamp, progress.part):
            return progress.part
        witnesses = self._witnesses(stamp)
        due = progress.next - self._offsets[progress.part]
        for number, later in enumerate(witnesses, 2):
            back_in_place = -stamp.slack <= later.about - due <= near + number * stamp.lasts
            if back_in_place and (step < 0 or later.about < stamp.decoded):
                return None
        if 0 < step <= self._longest_gap:
            return progress.part
        if not witnesses:
            return None
        return self._jump(stamp, progress)

    def _fits_new_part(self, stamp: Stamp, progress: _Progress, part: int) -> bool:
        step = stamp.decoded + self._offsets[part] - progress.next
        if not -_TOGETHER_S <= step <= LONGEST_GAP_S or self._lies_before(stamp, part):
            return False
        if stamp.position is not None and self._begins[part] is not None:
            return True
        old_step = stamp.decoded + self._offsets[progress.part] - progress.next
        return abs(step) < abs(old_step) or not -stamp.slack <= old_step <= self._longest_gap

    def _jumps_soon(self, stamp: Stamp) -> bool:
        """Whether the clock of this packet's stream jumps right after it."""
        last = stamp.decoded
        for later in self._witnesses(stamp):
            if not -stamp.slack <= later.about - last <= LONGEST_GAP_S:
                return True
            last = later.about
        return False

    def _others_are_at(self, stamp: Stamp, part: int) -> bool:
        """Whether another stream has reached the time of this packet: then this stream alone has a gap."""
        time = stamp.decoded + self._offsets[part]
        return any(
            other.part == part and other.next >= time - _TOGETHER_S
            for index, other in self._streams.items()
            if index != stamp.stream
        )

    def _jump(self, stamp: Stamp, progress: _Progress) -> int:
        """Begin a new part at this packet, and return its number."""
        for earlier in reversed(self._offsets[-_REMEMBERED:]):
            if -stamp.slack <= stamp.decoded + earlier - progress.next <= _TOGETHER_S:
                return self._begin_part(stamp, earlier)  # back from a few wrong times
        return self._begin_part(stamp, self._offset_after_jump(stamp))

    def _begin_part(self, stamp: Stamp, offset: Fraction) -> int:
        self._offsets.append(offset)
        self._begins.append(stamp.position)
        return len(self._offsets) - 1

    def _offset_after_jump(self, first: Stamp) -> Fraction:
        """The least offset with which no stream overlaps what it had before the jump."""
        ends = {index: progress.end for index, progress in self._streams.items()}
        due = {index: progress.next for index, progress in self._streams.items()}
        begins, latest = {first.stream: first.shown}, {first.stream: first.about}
        moved = ends[first.stream] - first.shown
        for stamp in self._read_join(first):
            index = stamp.stream
            if not stamp.leads or index not in ends:
                continue
            if index in begins:
                if latest[index] - stamp.slack <= stamp.about <= latest[index] + LONGEST_GAP_S:
                    begins[index] = min(begins[index], stamp.shown)
                    latest[index] = stamp.about
                continue
            old = self._offsets[self._streams[index].part]
            step, new_step = stamp.about + old - due[index], stamp.about + moved - due[index]
            if -stamp.slack <= step <= LONGEST_GAP_S and not (
                _lies_behind(stamp, first) and -LONGEST_GAP_S <= new_step <= LONGEST_GAP_S
            ):  # a packet of before the jump that comes late, or of a stream that does not jump
                due[index] = max(due[index], stamp.about + old + stamp.lasts)
                ends[index] = max(ends[index], stamp.shown + old + stamp.lasts)
            else:
                begins[index], latest[index] = stamp.shown, stamp.about
        return max(ends[index] - begins[index] for index in begins)

    def _read_join(self, first: Stamp) -> Iterator[Stamp]:
        for number, (_, stamp) in enumerate(chain(list(self._ahead), self._read_on())):
            if stamp is not None:
                yield stamp
            if number > _JOIN_WITHIN or (
                stamp is not None and stamp.stream == first.stream and stamp.decoded > first.decoded + _JOIN_S
            ):
                return

    def _witnesses(self, stamp: Stamp, count: int = _WITNESSES) -> list[Stamp]:
        """The next `count` packets of the same stream."""
        witnesses: list[Stamp] = []
        for number, (_, later) in enumerate(chain(list(self._ahead), self._read_on())):
            if later is not None and later.stream == stamp.stream:
                witnesses.append(later)
            if len(witnesses) == count or number > _WITNESSES_WITHIN:
                break
        return witnesses

    def _read_on(self) -> Iterator[tuple[Item, Stamp | None]]:
        """Further packets, which are kept until it is their turn."""
        for entry in self._rest:
            self._ahead.append(entry)
            yield entry


def _lies_behind(stamp: Stamp, first: Stamp) -> bool:
    return stamp.position is not None and first.position is not None and stamp.position >= first.position
