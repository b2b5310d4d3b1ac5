"""The line in an animation of ours that says how it was made: in a GIF's comment, or in the EXIF of PNG and WebP."""

from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from starcast.images.mark import read_mark
from starcast.images.pillow import DECODER_ERRORS, quiet_pillow
from starcast.images.read import SOFTWARE

_PNG_HEADER = 33  # bytes of the signature and of IHDR
_HAS_EXIF, _HAS_ALPHA = 0x08, 0x10  # flags of VP8X


def copy_with_mark(animation: Path, target: Path, kind: str, mark: str, size: tuple[int, int], end: int) -> None:
    """Copy an animation ("gif", "apng", "webp") of frames of `size` (height, width), with `mark` in its metadata. `end`
    is when the last frame of a WebP ends, in milliseconds: FFmpeg does not store that."""
    text = mark.encode("ascii", "replace")[:255]
    exif = Image.Exif()
    exif[SOFTWARE] = text.decode()
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    with animation.open("rb") as old, target.open("wb") as new:
        if kind == "gif":
            head = old.read(13)
            table = 3 * 2 ** ((head[10] & 7) + 1) if len(head) == 13 and head[10] & 0x80 else 0
            comment = b"\x21\xfe" + bytes([len(text)]) + text + b"\0" if text else b""
            new.write(head + old.read(table) + comment)
            shutil.copyfileobj(old, new)
        elif kind == "apng":
            new.write(old.read(_PNG_HEADER))
            if text:
                body = b"eXIf" + block
                new.write(struct.pack(">I", len(block)) + body + struct.pack(">I", zlib.crc32(body)))
            shutil.copyfileobj(old, new)
        else:
            _copy_webp(old.read(), new, block if text else b"", size, end)


def read_animation_mark(path: Path) -> str | None:
    """The mark of an animation; None if it has none."""
    try:
        with path.open("rb") as file, quiet_pillow(), Image.open(file, formats=("GIF", "PNG", "WEBP")) as image:
            if image.format == "GIF":
                comment = image.info.get("comment")
                return comment.decode("ascii", "replace") if isinstance(comment, bytes) else None
    except DECODER_ERRORS:
        return None
    return read_mark(path)


def count_images(path: Path) -> int:
    """How many images an animation has."""
    try:
        with path.open("rb") as file, quiet_pillow(), Image.open(file, formats=("GIF", "PNG", "WEBP")) as image:
            return int(getattr(image, "n_frames", 1))
    except DECODER_ERRORS:
        return 0


def _copy_webp(old: bytes, new: BinaryIO, block: bytes, size: tuple[int, int], end: int) -> None:
    chunks = bytearray(old[12:])
    _end_at(chunks, end)
    if block:
        if chunks[:4] != b"VP8X":  # a single image has no header of its own for what it holds
            height, width = size
            flags = _HAS_ALPHA if chunks[:4] == b"VP8L" else 0
            sides = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
            chunks[:0] = b"VP8X" + struct.pack("<I", 10) + bytes([flags, 0, 0, 0]) + sides
        chunks[8] |= _HAS_EXIF
        chunks += b"EXIF" + struct.pack("<I", len(block)) + block + b"\0" * (len(block) % 2)
    new.write(b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks)


def _end_at(chunks: bytearray, end: int) -> None:
    """Give the last frame of a WebP the length that is left of the whole."""
    place, begun, last = 0, 0, None
    while place + 8 <= len(chunks):
        size = int.from_bytes(chunks[place + 4 : place + 8], "little")
        if chunks[place : place + 4] == b"ANMF":
            if last is not None:
                begun += int.from_bytes(chunks[last : last + 3], "little")
            last = place + 8 + 12  # behind place and sides
        place += 8 + size + size % 2
    if last is not None:
        chunks[last : last + 3] = min(max(1, end - begun), 2**24 - 1).to_bytes(3, "little")
