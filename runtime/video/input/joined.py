"""Detect a second video appended to a file: the result of `cat` on containers that cannot be joined that way.

FFmpeg reads transport and programme streams to their end, but stops after the first part of most other containers.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_BEGINNINGS = {"matroska": b"\x1a\x45\xdf\xa3", "flv": b"FLV\x01"}  # container -> how a file begins
_SEARCHED = 64 * 2**20  # bytes behind the last packet: an index is shorter


def another_film_follows(path: Path, container: str, end: int) -> bool:
    """Whether another file of the same container begins behind byte `end`. `container` is FFmpeg's name."""
    with path.open("rb") as file:
        if container.startswith("mov"):
            return _box_follows(file, b"ftyp", end)
        beginning = next((magic for name, magic in _BEGINNINGS.items() if container.startswith(name)), None)
        if beginning is None:
            return False
        file.seek(end)
        return beginning in file.read(_SEARCHED)


def _box_follows(file: BinaryIO, kind: bytes, end: int) -> bool:
    """Whether there is a box of this kind at the top level behind `end` (ISO/IEC 14496-12, 4.2)."""
    at = 0
    while True:
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return False
        if head[4:8] == kind and at >= end:
            return True
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size < 8:  # 0: up to the end of the file
            return False
        at += size
