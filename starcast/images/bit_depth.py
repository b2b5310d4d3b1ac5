"""Samples of 9 to 15 bits in files of 16, where they leave the high bits 0: without care they come out nearly black.

The PNG standard wants such samples spread over all 16 bits, with their number in the chunk sBIT; cameras and scripts
store them as they are. A file that states the number is believed, unless its samples are spread already: then they are
multiples, or repeat their high bits in the low ones. Where nothing states it, a dark image is the other explanation, so
only a remark says what it may be. Pillow also leaves packed 12-bit TIFFs low, and grey ones of 16 bits whose white is 0
inverted.
"""

from __future__ import annotations

import struct
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

_FULL = 65535
_LIKELY_BITS = 12  # what dark 16-bit samples are taken for, where nothing is stated
_BITS_PER_SAMPLE, _PHOTOMETRIC, _LARGEST_SAMPLE = 258, 262, 281  # TIFF tags
_CHUNK = struct.Struct(">I4s")  # of a PNG: length and type
_COLOUR_MODES = {"RGB": 3, "RGBX": 3, "RGBA": 3, "LA": 1}  # mode -> channels without alpha


class _Facts(NamedTuple):
    """What a file states: the bits that a sample is stored in; those of them that mean something, or None; and whether
    0 is white."""

    bits: int
    significant: int | None
    white_is_zero: bool = False


def to_full_range(image: ImageFile.ImageFile, file: BinaryIO) -> tuple[Image.Image, str | None]:
    """A loaded image with its samples spread over the whole range, and a clause that says what was, or might be, done;
    the image itself and None if there is nothing to do."""
    facts = _facts(image, file)
    if facts is None:
        return image, None
    samples = _samples(image, file, facts)
    if samples is None or not samples.any():
        return image, None
    colours = samples[..., : _COLOUR_MODES[image.mode]] if samples.ndim == 3 else samples
    largest = int(colours.max())
    if facts.bits < 16 or facts.white_is_zero:
        return _spread(image, samples, 2**facts.bits - 1, inverted=facts.white_is_zero), None
    if facts.significant is not None:
        white = 2**facts.significant - 1
        if largest > white or _is_spread(colours, facts.significant):
            return image, None
        note = f"has {facts.significant}-bit samples in the low bits of 16: they are read with {white} as white"
        return _spread(image, samples, white), note
    if largest >= 2**_LIKELY_BITS:
        return image, None
    return image, (
        f"has no 16-bit sample above {largest}, and comes out nearly black: if its samples have {_LIKELY_BITS} "
        f"bits, multiply them by {2 ** (16 - _LIKELY_BITS)}"
    )


def _facts(image: Any, file: BinaryIO) -> _Facts | None:
    """What a PNG or TIFF of more than 8 bits states; None for other files."""
    if image.format == "PNG":
        return _png_facts(file)
    if image.format == "TIFF":
        bits = max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,)))
        largest = image.tag_v2.get(_LARGEST_SAMPLE)
        largest = max(largest) if isinstance(largest, tuple) else largest
        stated = int(largest).bit_length() if isinstance(largest, int) and 0 < largest < _FULL else None
        inverted = image.mode.startswith("I;16") and image.tag_v2.get(_PHOTOMETRIC) == 0
        return _Facts(bits, stated, inverted) if 8 < bits <= 16 else None
    return _Facts(16, None) if image.mode.startswith("I;16") and image.format == "JPEG2000" else None


def _png_facts(file: BinaryIO) -> _Facts | None:
    file.seek(8)
    bits, significant = 0, None
    while len(header := file.read(_CHUNK.size)) == _CHUNK.size:
        length, kind = _CHUNK.unpack(header)
        if kind in (b"IDAT", b"IEND"):
            break
        content = file.read(length + 4)[:length]  # 4: the checksum
        if kind == b"IHDR":
            bits, colour_type = content[8], content[9]
            channels = 3 if colour_type & 2 else 1
        elif kind == b"sBIT" and bits == 16:
            significant = max(content[:channels], default=0)
    return _Facts(16, significant if significant in range(1, 16) else None) if bits == 16 else None


def _samples(image: Image.Image, file: BinaryIO, facts: _Facts) -> NDArray[np.uint16] | None:
    """Grey [H, W], or colours with or without alpha [H, W, C], with all their bits; None if they are not dark, or of
    another kind. Pillow keeps only the high byte of colours, OpenCV all."""
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    channels = _COLOUR_MODES.get(image.mode)
    if channels is None or facts.bits != 16 or np.asarray(image)[..., :channels].max() >= 2 ** (_LIKELY_BITS - 8):
        return None
    import cv2

    file.seek(0)
    decoded = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    size = image.size[::-1]
    if decoded is None or decoded.dtype != np.uint16 or decoded.shape[:2] != size or decoded.ndim != 3:
        return None
    alpha = decoded[..., 3:]
    blue, green, red = (decoded[..., number] for number in range(3))
    return np.dstack([blue, alpha] if channels == 1 else [red, green, blue, alpha])


def _is_spread(samples: NDArray[np.uint16], bits: int) -> bool:
    """Whether samples below 2^bits are dark ones of `bits` bits that were spread over 16, in one of the usual ways."""
    levels = np.flatnonzero(np.bincount(samples.ravel(), minlength=1)).astype(np.int64)
    short = levels >> (16 - bits)
    filled = (short << (16 - bits)) | (short >> max(0, 2 * bits - 16))
    scaled = np.rint(np.rint(levels * (2**bits - 1) / _FULL) * _FULL / (2**bits - 1))
    return any(np.array_equal(levels, spread) for spread in (short << (16 - bits), filled, scaled))


def _spread(image: Image.Image, samples: NDArray[np.uint16], white: int, *, inverted: bool = False) -> Image.Image:
    scale = (255 if samples.ndim == 3 else _FULL) / white

    def moved(values: NDArray[Any]) -> NDArray[Any]:
        values = white - np.minimum(values, white) if inverted else values
        return np.minimum(np.rint(values * scale), white * scale)

    levels = moved(samples.astype(np.float64)).astype(np.uint8 if samples.ndim == 3 else np.uint16)
    spread = Image.fromarray(levels)
    spread.info = dict(image.info)
    clear = image.info.get("transparency")
    if isinstance(clear, int) and samples.ndim == 2:  # a PNG's single transparent grey
        spread.info["transparency"] = int(moved(np.array(clear, np.float64)))
    elif samples.ndim == 3:
        spread.info.pop("transparency", None)
    return spread
