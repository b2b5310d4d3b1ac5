"""How a file ends, in formats that do not state how long they are: cut in the middle of a frame, or with zeros."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_EQUAL_FRAMES = ("dv", "yuv4mpegpipe")  # every byte belongs to a frame
_GIF_TRAILER = b";"
_PAGE = b"OggS"
_LONGEST_PAGE = 65307  # bytes (RFC 3533, 6)
_PAGE_HEADER = 27
_BLOCK = 2**16
_UNREAD = 1024  # bytes behind the last frame: comments are shorter
_NOTICED = 4096  # fewer zeros are padding


def is_cut(path: Path, container: str, end: int) -> bool:
    """Whether a file was cut short. `container`: FFmpeg's name of its format; `end`: the byte behind its packets."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if container in _EQUAL_FRAMES:
            return end != size
        if container == "gif":
            tail = _tail(file, size, _BLOCK)
            whole = tail.rstrip(b"\0")
            is_unread = size - (len(tail) - len(whole)) - end > _UNREAD
            return not whole.endswith(_GIF_TRAILER) or is_unread
        if container == "ogg":
            tail = _tail(file, size, 2 * _LONGEST_PAGE)
            return _is_page_cut(tail[max(0, tail.rfind(_PAGE)) :])
    return False


def zeros_at_end(path: Path, end: int) -> int:
    """How many bytes of 0 a file has at its end, behind byte `end`; 0 if they are few."""
    with path.open("rb") as file:
        size = at = file.seek(0, 2)
        while at > end:
            begin = max(end, at - _BLOCK)
            file.seek(begin)
            kept = len(file.read(at - begin).rstrip(b"\0"))
            at = begin + kept
            if kept:
                break
    return size - at if size - at >= _NOTICED else 0


def _tail(file: BinaryIO, size: int, count: int) -> bytes:
    file.seek(max(0, size - count))
    return file.read()


def _is_page_cut(page: bytes) -> bool:
    """Whether an Ogg page lacks bytes (RFC 3533, 6): its header lists the lengths of its segments."""
    if not page.startswith(_PAGE) or len(page) < _PAGE_HEADER:
        return page.startswith(_PAGE)
    lengths = page[_PAGE_HEADER : _PAGE_HEADER + page[_PAGE_HEADER - 1]]
    return len(lengths) < page[_PAGE_HEADER - 1] or len(page) < _PAGE_HEADER + len(lengths) + sum(lengths)
