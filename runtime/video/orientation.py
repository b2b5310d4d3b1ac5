"""How a frame is shown: a file's display matrix, and pixels that are not square."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

Matrix = tuple[float, float, float, float]
UPRIGHT: Matrix = (1.0, 0.0, 0.0, 1.0)
_MOST_STRETCHED = 8  # a sample aspect ratio beyond 8:1 is damage


def display_matrix(frame: VideoFrame) -> Matrix:
    """(a, b, c, d) of the frame's display matrix, UPRIGHT if it has none.

    A pixel at (x, y) is shown at (a x + c y, b x + d y), with y downwards. Only the signs, and which of the four are
    0, matter. See FFmpeg's libavutil/display.h.
    """
    try:
        side_data: Iterable[Any] = frame.side_data
        found = [bytes(data) for data in side_data if data.type.name == "DISPLAYMATRIX"]
    except ValueError:  # this PyAV fails on side data of a kind it does not know
        return _from_angle(frame.rotation)
    if not found or len(found[0]) != 36:
        return UPRIGHT
    a, b, _, c, d, *_ = struct.unpack("=9i", found[0])
    return _scaled(a, b, c, d)


def turn_upright(pixels: NDArray[np.uint8], matrix: Matrix) -> NDArray[np.uint8]:
    """[H, W, 3] turned and mirrored as the display matrix says, to the nearest 90 degrees."""
    a, b, c, d = matrix
    if _turns_by_90(matrix):
        pixels = pixels.swapaxes(0, 1)
        a, d = c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def make_pixels_square(pixels: NDArray[np.uint8], sample_aspect: Fraction) -> NDArray[np.uint8]:
    """[H, W, 3] stretched along one side so that its pixels are square; `sample_aspect` is a pixel's width : height."""
    height, width = _square_size(pixels.shape[0], pixels.shape[1], sample_aspect)
    if (height, width) == pixels.shape[:2]:
        return pixels
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def shown_size(height: int, width: int, sample_aspect: Fraction, matrix: Matrix) -> tuple[int, int]:
    """(height, width) of a frame after `make_pixels_square` and `turn_upright`."""
    height, width = _square_size(height, width, sample_aspect)
    return (width, height) if _turns_by_90(matrix) else (height, width)


def _square_size(height: int, width: int, sample_aspect: Fraction) -> tuple[int, int]:
    if not Fraction(1, _MOST_STRETCHED) <= sample_aspect <= _MOST_STRETCHED:
        return height, width
    if sample_aspect > 1:
        return height, round(width * sample_aspect)
    return round(height / sample_aspect), width


def _turns_by_90(matrix: Matrix) -> bool:
    """Whether the display matrix turns by 90 degrees."""
    a, b, c, d = matrix
    return abs(a) + abs(d) < abs(b) + abs(c)


def _scaled(*values: int) -> Matrix:
    largest = max(map(abs, values))
    a, b, c, d = (value / largest for value in values) if largest else UPRIGHT
    return a, b, c, d


def _from_angle(degrees: Any) -> Matrix:
    """The matrix of a turn by `degrees` counter-clockwise."""
    turns: Sequence[Matrix] = (UPRIGHT, (0.0, -1.0, 1.0, 0.0), (-1.0, 0.0, 0.0, -1.0), (0.0, 1.0, -1.0, 0.0))
    return turns[round(float(degrees) / 90) % 4]
