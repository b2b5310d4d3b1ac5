"""Decode images that clients sent."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starcast.errors import ImageError
from starcast.images.read import read_image

NAME = "the image"  # in errors: a client's own name for it is never used


def decoder(max_pixels: int) -> Callable[[bytes], Awaitable[NDArray[np.uint8]]]:
    """A function that decodes an image to RGB [H, W, 3], upright and in sRGB. It raises ImageError."""

    def decode(content: bytes) -> NDArray[np.uint8]:
        with tempfile.TemporaryDirectory(prefix="starcast-") as folder:
            path = Path(folder) / "image"
            path.write_bytes(content)
            try:
                return read_image(path, max_pixels=max_pixels)
            except ImageError as error:
                raise ImageError(str(error).replace(os.fspath(path), NAME)) from None

    async def decode_beside(content: bytes) -> NDArray[np.uint8]:
        return await asyncio.to_thread(decode, content)

    return decode_beside
