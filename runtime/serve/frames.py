"""The frames of a live session: JPEG or WebP from the browser, JPEG to it, each behind a small header.

browser -> server   number uint32, then the image
server -> browser   number uint32, milliseconds of the model float32, then the image; all little-endian
"""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from starcast.errors import ImageError

_IN, _OUT = struct.Struct("<I"), struct.Struct("<If")
_FORMATS = ("JPEG", "WEBP")
_QUALITY = 92


def unpack_frame(message: bytes) -> tuple[int, bytes]:
    """Number and encoded image. Raises ImageError."""
    if len(message) <= _IN.size:
        raise ImageError("a frame is too short")
    return _IN.unpack_from(message)[0], message[_IN.size :]


def pack_frame(number: int, engine_s: float, encoded: bytes) -> bytes:
    """A translation's message."""
    return _OUT.pack(number, 1000 * engine_s) + encoded


def decode_frame(encoded: bytes, pixels: int) -> NDArray[np.uint8]:
    """RGB [H, W, 3] of a browser's image of at most so many pixels. Raises ImageError. Its header is read first, and
    only formats that a browser's canvas writes are decoded."""
    try:
        with Image.open(io.BytesIO(encoded), formats=_FORMATS) as header:
            width, height = header.size
            frames = getattr(header, "n_frames", 1)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError("a frame is not a whole JPEG or WebP") from error
    if frames != 1 or width * height > pixels:
        raise ImageError(f"a frame of {width}x{height} is too large: send at most {pixels} pixels")
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None or image.shape[:2] != (height, width):
        raise ImageError("a frame is damaged")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def encode_frame(image: NDArray[np.uint8]) -> bytes:
    """RGB [H, W, 3] as JPEG, with the colours of every pixel."""
    settings = [
        cv2.IMWRITE_JPEG_QUALITY, _QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]  # fmt: skip
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), settings)
    assert done
    return encoded.tobytes()
