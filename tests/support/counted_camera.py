"""A camera for the browser: grey with a patch of one colour, and the frame's number as black and white fields."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH, RATE = 240, 320, 30
BITS, FIELD = 8, 24  # fields along the top of the square in the middle
PATCH = (190, 70, 50)  # RGB, in the lower half
GREY = 128


def write_camera(path: Path, frames: int = 60) -> Path:
    """A y4m file, which the browser begins again at its end. Its colours are BT.601 in limited range, as Chromium
    reads them."""
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{RATE}:1 Ip A1:1 C420jpeg\n".encode())
        for number in range(frames):
            file.write(b"FRAME\n" + b"".join(plane.tobytes() for plane in _planes(number)))
    return path


def _planes(number: int) -> tuple[NDArray[np.uint8], ...]:
    rgb = np.full((HEIGHT, WIDTH, 3), GREY, np.float64)
    left = (WIDTH - HEIGHT) // 2
    for bit in range(BITS):
        rgb[:FIELD, left + bit * FIELD : left + (bit + 1) * FIELD] = 255 * (number >> bit & 1)
    rgb[HEIGHT // 2 :] = PATCH
    red, green, blue = (rgb[..., channel] / 255 for channel in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = [(blue - luma) / 1.772, (red - luma) / 1.402]
    halved = [plane.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).mean(axis=(1, 3)) for plane in chroma]
    return tuple(
        np.rint(plane).astype(np.uint8) for plane in (16 + 219 * luma, *(128 + 224 * plane for plane in halved))
    )


def number_of(image: NDArray[np.uint8], offset: NDArray[np.float64]) -> int:
    """The number of a square translation [S, S, 3] whose colours are those of the camera plus `offset`."""
    field = len(image) * FIELD / HEIGHT
    grey = [image[round(field / 2), round(field * (bit + 0.5))].astype(float).mean() for bit in range(BITS)]
    return sum((value - offset.mean() > GREY) << bit for bit, value in enumerate(grey))
