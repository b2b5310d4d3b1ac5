"""Which streams of a transport stream belong together: its programmes, as a broadcast multiplex has several.

PyAV does not expose programmes, so the tables that list them are read here: ISO/IEC 13818-1, 2.4.4 (PAT and PMT).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SYNC = 0x47
_PACKET = 188
_SIZES = {188: 0, 192: 4, 204: 0}  # size of a packet in the file: bytes before it (.m2ts has a time code there)
PROBED = 5 * 2**20  # tables come at least every half second
_CHECKED = 5  # packets in a row that must begin with the sync byte
PAT, PMT = 0x00, 0x02  # table identifiers


class Layout(NamedTuple):
    """Distance between packets, and where the first begins."""

    size: int
    start: int


def programmes_of(path: Path) -> list[frozenset[int]]:
    """The stream identifiers (PIDs) of each programme, in the order of their tables; empty for other containers."""
    with path.open("rb") as file:
        return read_programmes(file.read(PROBED))


def read_programmes(content: bytes) -> list[frozenset[int]]:
    """The same, from the beginning of a file."""
    tables: dict[int, int] = {}  # PID of a programme's table -> its programme
    programmes: dict[int, frozenset[int]] = {}
    sections: dict[int, bytearray] = {}
    for pid, begins, payload in _payloads(content):
        if pid and pid not in tables:
            continue
        if begins:  # a pointer to where the first new section begins
            sections[pid] = bytearray(payload[1 + payload[0] :]) if payload else bytearray()
        elif pid in sections:
            sections[pid] += payload
        section = whole_section(sections.get(pid, b""))
        if section is None:
            continue
        if section[0] == PAT and not pid:
            for number, table in pairs_of(section[8:-4]):
                if number:  # 0 is the network's table
                    tables.setdefault(table, number)
        elif section[0] == PMT and pid in tables:
            number = int.from_bytes(section[3:5], "big")
            programmes.setdefault(number, frozenset(_streams(section)))
        if tables and len(programmes) == len(tables):
            break
    return list(programmes.values())


def _payloads(content: bytes) -> Iterator[tuple[int, bool, bytes]]:
    """(PID, whether a section begins, payload) of each packet."""
    layout = layout_of(content)
    if layout is None:
        return
    for at in range(layout.start, len(content) - _PACKET + 1, layout.size):
        packet = content[at : at + _PACKET]
        payload = payload_of(packet)
        if payload is not None:
            yield int.from_bytes(packet[1:3], "big") & 0x1FFF, bool(packet[1] & 0x40), payload


def payload_of(packet: bytes) -> bytes | None:
    """What a packet carries; None if it carries nothing, or is no packet."""
    if packet[0] != SYNC or not packet[3] & 0x10:
        return None
    skipped = 5 + packet[4] if packet[3] & 0x20 else 4  # the adaptation field
    return packet[skipped:_PACKET]


def layout_of(content: bytes) -> Layout | None:
    """Where packets lie at the beginning of a file; None if it is no transport stream."""
    for size, before in _SIZES.items():
        for start in range(before, min(size + before, len(content))):
            syncs = content[start : start + size * _CHECKED : size]
            if len(syncs) == _CHECKED and set(syncs) == {SYNC}:
                return Layout(size, start)
    return None


def whole_section(section: bytes | bytearray) -> bytes | None:
    """A section without what follows it; None if it is not complete."""
    if len(section) < 3:
        return None
    length = 3 + (int.from_bytes(section[1:3], "big") & 0x0FFF)
    return bytes(section[:length]) if 12 <= length <= len(section) else None


def pairs_of(entries: bytes) -> Iterator[tuple[int, int]]:
    for at in range(0, len(entries) - 3, 4):
        yield int.from_bytes(entries[at : at + 2], "big"), int.from_bytes(entries[at + 2 : at + 4], "big") & 0x1FFF


def _streams(section: bytes) -> Iterator[int]:
    at = 12 + (int.from_bytes(section[10:12], "big") & 0x0FFF)
    while at + 5 <= len(section) - 4:
        yield int.from_bytes(section[at + 1 : at + 3], "big") & 0x1FFF
        at += 5 + (int.from_bytes(section[at + 3 : at + 5], "big") & 0x0FFF)
