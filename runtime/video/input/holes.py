"""Stretches in the middle of a file that cannot be read, where FFmpeg silently goes on behind the damage.

A hole is where two things come together: bytes that no packet covers, and a step in the times of a stream. Each alone
is healthy: indices and padding lie between packets, and streams of a variable rate have gaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

_BETWEEN = 4096  # bytes between two packets that are no hole: indices, tables, padding
_WITHOUT_ORDER = ("mov", "mp4")  # packets may lie anywhere in the file; damaged ones are decoded, and fail there
_FRAMING = 16  # up to one byte in 16 belongs to the container (transport streams)
_STEP = Fraction(1, 2)  # of a packet's length: a longer step in the times is a gap


@dataclass(frozen=True)
class _Due:
    """What is known of a stream after its last packet: when the next is due, how long the last one lasts, and the holes
    in front of the last two packets. The first packet behind a hole may be the rest of one that began before it."""

    next_s: Fraction
    lasts_s: Fraction
    holes: tuple[int, int]


class Holes:
    """Counts the holes between the packets of a file. `container`: FFmpeg's name of its format."""

    def __init__(self, container: str) -> None:
        self.at_s: list[Fraction] = []  # when each hole begins, in seconds
        self._is_ordered = not container.startswith(_WITHOUT_ORDER)
        self._end = 0  # the byte behind all packets so far
        self._position = -1  # of the last packet; in Ogg, several have that of their page
        self._usual = 0  # the longest stretch between packets that was no hole
        self._hole = 0  # the byte behind the last stretch that may be one
        self._stretch = 0  # how long that is
        self._counted = 0  # the byte behind the last hole
        self._due: dict[int, _Due] = {}  # by stream

    def cover(self, position: int | None, size: int) -> None:
        """Take the next packet of any stream, in the file's order. `position`: its first byte, if that is known."""
        size += size // _FRAMING
        if position is None or position == self._position:
            self._end += size
            return
        missing = position - self._end if self._end else 0
        if missing > max(_BETWEEN, self._usual * 3 // 2):  # pages of Ogg and packets of ASF are longer
            if self._hole != self._counted:  # the stretch before this one was healthy: stuffing, or an index
                self._usual = max(self._usual, self._stretch)
            self._hole, self._stretch = position, missing
        else:
            self._usual = max(self._usual, missing)
        self._position = position
        self._end = max(self._end, position + size)

    def follow(self, stream: int, begins_s: Fraction, lasts_s: Fraction) -> None:
        """Take the times of the packet that was covered last, if it is one of sound or video."""
        due = self._due.get(stream)
        if due is not None and self._is_gap(begins_s - due.next_s, due, lasts_s):
            self._counted = self._hole
            self.at_s.append(due.next_s)
        holes = (self._hole, self._hole) if due is None else (due.holes[1], self._hole)
        self._due[stream] = _Due(begins_s + lasts_s, lasts_s, holes)

    def _is_gap(self, step_s: Fraction, due: _Due, lasts_s: Fraction) -> bool:
        is_new = self._hole not in (due.holes[0], self._counted)
        return self._is_ordered and is_new and step_s > _STEP * max(due.lasts_s, lasts_s)
