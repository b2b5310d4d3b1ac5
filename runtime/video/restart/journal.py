"""The journal of a film's segments: a header that says which film they are of, then a line for each whole segment.

A line is appended and flushed to disk once its segment is there. A kill may tear the last line, which does not count.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from starcast.atomic import write_bytes

FORMAT = 1
_MARK = "starcast_parts"
_HEADER_BYTES = 2**16


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A whole segment.

    `coded`: pts and duration of each packet, in the order of decoding, in ticks. `delay`: by how many frames decoding
    is ahead of showing. `sha256` is that of its file, `state` that of the file with what stages remember.
    """

    number: int
    coded: list[tuple[int, int]]
    delay: int
    sha256: str
    state: str = ""


def write_header(journal: Path, facts: Mapping[str, Any]) -> None:
    """Begin a journal. Raises OSError."""
    write_bytes(journal, msgspec.json.encode({_MARK: FORMAT, **facts}) + b"\n")


def read_header(journal: Path) -> dict[str, Any] | None:
    """The facts of a journal's header; None if it is no journal of this version. Raises OSError."""
    if journal.is_symlink() or not journal.is_file():
        return None
    with journal.open("rb") as file:
        header = _decode(file.readline(_HEADER_BYTES), dict[str, Any])
    return header if header is not None and header.pop(_MARK, None) == FORMAT else None


def read_segments(journal: Path) -> Iterator[tuple[Segment, int]]:
    """The segments in order, each with the byte at which its line ends. Stops where one is missing or torn."""
    with journal.open("rb") as file:
        file.readline(_HEADER_BYTES)
        last = None
        for number, line in enumerate(iter(file.readline, b"")):
            segment = _decode(line, Segment)
            if segment is None or segment.number != number or not _follows(segment, last):
                return
            last = max(pts for pts, _ in segment.coded)
            yield segment, file.tell()


def append(journal: Path, segment: Segment) -> None:
    """Add a line, and flush it to disk. Raises OSError."""
    with journal.open("ab") as file:
        file.write(msgspec.json.encode(segment) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def cut(journal: Path, end: int) -> None:
    """Drop what follows the byte `end`. Raises OSError."""
    with journal.open("r+b") as file:
        file.truncate(end)
        os.fsync(file.fileno())


def _follows(segment: Segment, last: int | None) -> bool:
    return bool(segment.coded) and (last is None or min(pts for pts, _ in segment.coded) > last)


def _decode(line: bytes, kind: type[Any]) -> Any:
    if not line.endswith(b"\n"):
        return None
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError:
        return None
