"""Transport streams that were joined from recordings whose streams have other numbers (PIDs): read as one.

FFmpeg takes the streams of the later parts for other ones, and a player shows the first part only. Here the numbers of
the later parts are rewritten to those of the first while the file is read, and their tables are hidden. Streams belong
together if they are coded in the same way; of several such, the first to the first. See ISO/IEC 13818-1, 2.4.
"""

from __future__ import annotations

import os
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starcast.runtime.video.input.programmes import (
    PAT,
    PMT,
    SYNC,
    Layout,
    layout_of,
    pairs_of,
    payload_of,
    whole_section,
)

Kind = tuple[int, int]  # of a stream: its type, and the descriptor that tells private ones apart
Streams = tuple[tuple[int, Kind], ...]  # PID and kind, in the order of the table
Look = Callable[[int], list[tuple[int, Streams]]]  # the tables in a window, by its first byte

_NULL = 0x1FFF  # the PID of packets that hold nothing
_PIDS = 0x2000
_WINDOW = 2**20  # bytes; tables come every half second or more often
_WINDOWS = 32  # spread over a large file
_PRIVATE = 0x06
_TELLING = (0x6A, 0x7A, 0x7B, 0x7C, 0x81, 0x56, 0x59, 0x05)  # AC-3, E-AC-3, DTS, AAC, AC-3, teletext, subtitles, other
_SAME_TYPE = {0x03: 0x04}  # MPEG-1 and MPEG-2 sound
_VIDEO_TYPES = (0x01, 0x02, 0x10, 0x1B, 0x20, 0x21, 0x24, 0x33, 0x42, 0x80, 0xD1, 0xD2, 0xEA)


class _SeveralProgrammesError(Exception):
    """A broadcast with several programmes, whose tables alternate."""


@dataclass(frozen=True)
class Part:
    """A later part: its first byte, and the PID that each PID becomes (uint16 [8192])."""

    begin: int
    pids: NDArray[np.uint16]


@dataclass(frozen=True)
class Splice:
    """The parts behind the first one, each with other numbers than the one before it.

    `end`: the byte where the readable file ends, because the video is coded in another way from there on; None if it
    never is. `lost`: whether a stream of a later part belongs to none of the first.
    """

    layout: Layout
    parts: tuple[Part, ...]
    end: int | None = None
    lost: bool = False


def find_splice(path: Path) -> Splice | None:
    """How a transport stream was joined; None if its streams keep their numbers, and for any other file."""
    with path.open("rb") as file:
        layout = layout_of(file.read(_WINDOW))
        if layout is None:
            return None
    changes = _changes(path, layout)
    if not changes:
        return None
    _, first = changes[0]
    kinds = dict(first)
    parts: list[Part] = []
    lost = False
    for begin, streams in changes[1:]:
        pids = _mapping(first, streams)
        if pids is None:
            return Splice(layout, tuple(parts), end=begin, lost=lost)
        is_reordered = set(streams) == set(first)
        moves = any(pids[pid] not in (pid, _NULL) or kinds.get(pid, kind) != kind for pid, kind in streams)
        if moves and not is_reordered:
            lost = lost or any(pids[pid] == _NULL for pid, _ in streams)
            parts.append(Part(begin, pids))
        elif parts:
            parts.append(Part(begin, np.arange(_PIDS, dtype=np.uint16)))  # the numbers of the first part again
    return Splice(layout, tuple(parts), lost=lost) if parts else None


def _mapping(first: Streams, streams: Streams) -> NDArray[np.uint16] | None:
    """The PID that each PID of a later part becomes; None if its video is coded in another way."""
    free: dict[Kind, list[int]] = defaultdict(list)
    for pid, kind in first:
        free[kind].append(pid)
    pids = np.full(_PIDS, _NULL, np.uint16)
    videos = [pid for pid, kind in streams if kind[0] in _VIDEO_TYPES]
    for pid, kind in streams:
        if free[kind]:
            pids[pid] = free[kind].pop(0)
    return None if videos and all(pids[pid] == _NULL for pid in videos) else pids


def _changes(path: Path, layout: Layout) -> list[tuple[int, Streams]]:
    """Where the streams of a file change, and what they are from there on; nothing if it has several programmes.

    A large file is looked at in windows, so a short part between two with equal numbers may be missed.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)

        def look(at: int) -> list[tuple[int, Streams]]:
            file.seek(at)
            return [(at + position, streams) for position, streams in _tables(file.read(_WINDOW), layout, at)]

        step = max(_WINDOW, -(-size // _WINDOWS))
        changes: list[tuple[int, Streams]] = []
        behind = 0  # the last table seen
        try:
            for at in range(0, size, step):
                for position, streams in look(at):
                    if not changes or streams != changes[-1][1]:
                        changes.append((_begin(look, behind, position, streams), streams))
                    behind = position
        except _SeveralProgrammesError:
            return []
    return changes


def _begin(look: Look, low: int, high: int, streams: Streams) -> int:
    """The first table with these streams behind `low`, where there is one with others; `high` is one of them."""
    while high - low > _WINDOW:
        middle = (low + high) // 2
        seen = [(at, found) for at, found in look(middle) if at < high]
        if not seen:
            break
        at, found = seen[0]
        if found == streams:
            high = at
        else:
            low = at
    return next((at for at, found in look(low) if found == streams), high)


def _tables(content: bytes, layout: Layout, at: int) -> Iterator[tuple[int, Streams]]:
    """Position in `content` and streams of each table that lists them. `at`: the byte at which `content` begins."""
    start = (layout.start - at) % layout.size
    whole = max(0, len(content) - start) // layout.size
    packets = np.frombuffer(content, np.uint8, whole * layout.size, start).reshape(whole, layout.size)
    heads = packets[:, :3].astype(np.uint16)
    pids = np.where(heads[:, 0] == SYNC, (heads[:, 1] & 0x1F) << 8 | heads[:, 2], _NULL)
    lists: set[int] = set()  # PIDs of tables
    sections: dict[int, tuple[int, bytes]] = {}
    for number in np.flatnonzero(np.isin(pids, [0, *_listed(packets, pids)])):
        pid, position = int(pids[number]), start + int(number) * layout.size
        packet = packets[number].tobytes()
        payload = payload_of(packet)
        if not payload:
            continue
        if packet[1] & 0x40:
            sections[pid] = (position, payload[1 + payload[0] :])
        elif pid in sections:
            sections[pid] = (sections[pid][0], sections[pid][1] + payload)
        begin, section = sections.get(pid, (position, b""))
        complete = whole_section(section)
        if complete is None:
            continue
        if pid == 0 and complete[0] == PAT:
            lists = {table for programme, table in pairs_of(complete[8:-4]) if programme}
            if len(lists) > 1:
                raise _SeveralProgrammesError
        elif pid in lists and complete[0] == PMT:
            del sections[pid]
            yield begin, tuple(_streams(complete))


def _listed(packets: NDArray[np.uint8], pids: NDArray[np.uint16]) -> set[int]:
    """The PIDs of all tables that the lists of programmes in these packets name."""
    tables: set[int] = set()
    for number in np.flatnonzero(pids == 0):
        payload = payload_of(packets[number].tobytes())
        section = whole_section(payload[1 + payload[0] :]) if payload else None
        if section is not None and section[0] == PAT:
            tables |= {table for programme, table in pairs_of(section[8:-4]) if programme}
    return tables


def _streams(section: bytes) -> Iterator[tuple[int, Kind]]:
    at = 12 + (int.from_bytes(section[10:12], "big") & 0x0FFF)
    while at + 5 <= len(section) - 4:
        kind = _SAME_TYPE.get(section[at], section[at])
        length = int.from_bytes(section[at + 3 : at + 5], "big") & 0x0FFF
        tags = set(_descriptors(section[at + 5 : at + 5 + length])) if kind == _PRIVATE else set()
        telling = next((tag for tag in _TELLING if tag in tags), 0)
        yield int.from_bytes(section[at + 1 : at + 3], "big") & 0x1FFF, (kind, telling)
        at += 5 + length


def _descriptors(content: bytes) -> Iterator[int]:
    at = 0
    while at + 2 <= len(content):
        yield content[at]
        at += 2 + content[at + 1]


class SplicedFile:
    """A joined transport stream as a file whose streams keep their numbers, as PyAV takes it in place of a path."""

    def __init__(self, path: Path, splice: Splice) -> None:
        self.name = str(path)
        self._splice = splice
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._file)  # PyAV does not close it
        size = os.fstat(self._file).st_size
        self._size = size if splice.end is None else min(size, splice.end)
        self._at = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, count: int = -1) -> bytes:
        rest = max(0, self._size - self._at)
        content = self._read(self._at, rest if count < 0 else min(count, rest))
        self._at += len(content)
        return content

    def _read(self, at: int, count: int) -> bytes:
        part = next((part for part in reversed(self._splice.parts) if part.begin <= at), None)
        after = next((part.begin for part in self._splice.parts if part.begin > at), self._size)
        count = min(count, after - at)  # a read may give less than it was asked for
        if part is None:
            return self._raw(at, count)
        size = self._splice.layout.size
        begin = at - (at - part.begin) % size
        end = min(after, at + count + (-(at + count - part.begin)) % size)
        return _renumbered(self._raw(begin, end - begin), self._splice.layout, part.pids)[at - begin :][:count]

    def _raw(self, at: int, count: int) -> bytes:
        os.lseek(self._file, at, os.SEEK_SET)
        pieces = []
        while count > 0 and (piece := os.read(self._file, count)):
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)


def _renumbered(content: bytes, layout: Layout, pids: NDArray[np.uint16]) -> bytes:
    """Packets from the first on, with other PIDs; what is no packet stays as it is."""
    whole = len(content) // layout.size
    packets = np.frombuffer(content, np.uint8, whole * layout.size).reshape(whole, layout.size).copy()
    is_packet = packets[:, 0] == SYNC
    old = (packets[:, 1].astype(np.uint16) & 0x1F) << 8 | packets[:, 2]
    new = pids[old]
    packets[is_packet, 1] = (packets[:, 1] & 0xE0 | (new >> 8).astype(np.uint8))[is_packet]
    packets[is_packet, 2] = (new & 0xFF).astype(np.uint8)[is_packet]
    return packets.tobytes() + content[whole * layout.size :]
