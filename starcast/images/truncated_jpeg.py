"""JPEGs that lack their end: whether the whole image is there all the same.

libjpeg fills what is missing with one colour, often grey, and says so only in a warning, which Pillow does not pass on.
So the image is decoded several times, each time with other bytes in the place of the missing ones. If they change no
pixel, no pixel depended on them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from starcast.images.pillow import DECODER_ERRORS

_END = b"\xff\xd9"
# The first ones begin with each of the bits that a Huffman code may begin with: a symbol of a missing coefficient would
# be read from them. The noise is for the many coefficients of missing rows.
_STAND_INS = (
    *(bytes([first]) * 1024 for first in (0x00, 0x55, 0x80, 0xA5, 0xC3, 0xE1, 0xF2, 0xFC)),
    *(np.random.default_rng(seed).integers(0, 255, 1024, dtype=np.uint8).tobytes() for seed in range(4)),
)
_RESTARTS = range(0xD0, 0xD8)
_SEGMENT = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_RESTART_INTERVAL = b"\xff\xdd"
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive; nothing else is decoded
_PROGRESSIVE, _SCAN = 0xC2, 0xDA
_SPECTRUM = 3  # bytes at the end of a scan's header: which coefficients it has, and which of their bits
_COEFFICIENTS = 64
_ROWS = 8  # of a block
TAIL_BYTES = 64
_PADDING = 4  # so many zeros at the end are no entropy code: a download that was cut short, in a file of full size


def complete(content: bytes) -> bytes | None:
    """A JPEG that cannot be decoded, with the end that it lacks; None if part of the image is missing, too."""
    body = _without_end(content)
    if not _has_every_scan(body):
        return None
    try:
        return body + _END if _is_independent_of(body, _stand_ins(body)) else None
    except DECODER_ERRORS:
        return None


def may_lack_rows(image: Image.Image, tail: bytes) -> bool:
    """Whether rows may be missing in a JPEG that could be decoded, by its last rows, which have one colour where
    libjpeg fills them in, and by the last TAIL_BYTES of the file, which are 0 where a download was cut short."""
    rows = np.asarray(image.crop((0, max(0, image.height - _ROWS), *image.size)))
    return not tail.removesuffix(_END).strip(b"\0") or bool((rows == rows[-1, -1]).all())


def lacks_rows(content: bytes) -> bool:
    """Whether rows are missing in a JPEG that can be decoded: one that was cut short, and given an end again."""
    try:
        return not _is_independent_of(_without_end(content), (_STAND_INS[-1],), scale=8)
    except DECODER_ERRORS:
        return False


def _without_end(content: bytes) -> bytes:
    body = content[:-2] if content.endswith(_END) else content
    bare = body.rstrip(b"\0")
    return (bare if len(body) - len(bare) >= _PADDING else body).rstrip(b"\xff")


def _is_independent_of(body: bytes, stand_ins: Iterable[bytes], scale: int = 1) -> bool:
    """Whether the image is the same, whichever of the `stand_ins` lies between `body` and the end."""
    expected = _decode(body + _END, scale)
    return all(np.array_equal(expected, _decode(body + stand_in + _END, scale)) for stand_in in stand_ins)


def _stand_ins(content: bytes) -> Iterator[bytes]:
    """Bytes for the place of those that may be missing. Where an interval of the restart markers is missing as a whole,
    libjpeg reads on only behind a marker."""
    yield from _STAND_INS
    if _RESTART_INTERVAL in content:
        for stand_in in _STAND_INS:
            for first in (0, 4):  # a marker soon after the one that is due stands for a missing interval: try both
                markers = [*_RESTARTS[first:], *_RESTARTS, *_RESTARTS[:first]]
                yield b"".join(bytes([0xFF, marker]) + stand_in[64 * n :][:64] for n, marker in enumerate(markers))


def _decode(content: bytes, scale: int) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
        image.draft(image.mode, (max(1, image.width // scale), max(1, image.height // scale)))
        return np.asarray(image)


def _has_every_scan(content: bytes) -> bool:
    """Whether each component has all bits of all coefficients, up to a part of the last scan that is missing."""
    components: tuple[int, ...] = ()
    progressive = False
    missing: set[tuple[int, int]] = set()  # (component, coefficient)
    place = 2
    while match := _SEGMENT.search(content, place):
        marker, place = match[1][0], match.end()
        if marker in _BARE:
            continue
        length = int.from_bytes(content[place : place + 2], "big")
        segment = content[place + 2 : place + length]
        place += length
        if marker in _FRAMES and not components:
            progressive = marker == _PROGRESSIVE
            components = tuple(segment[6::3])
            missing = {(component, number) for component in components for number in range(_COEFFICIENTS)}
        elif marker == _SCAN and len(segment) > _SPECTRUM:
            *parts, first, last, bits = segment[1:]
            numbers = range(first, last + 1) if progressive else range(_COEFFICIENTS)
            if not progressive or not bits & 0x0F:
                missing -= {(part, number) for part in parts[::2] for number in numbers}
    return bool(components) and not missing
