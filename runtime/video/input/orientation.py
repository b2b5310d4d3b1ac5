"""How a frame is shown: its display matrix, and pixels that are not square. Both may change from frame to frame."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from starcast.runtime.video.input.side_data import read_side_data
from starcast.runtime.video.timing import as_fraction

Matrix = tuple[float, float, float, float]
UPRIGHT: Matrix = (1.0, 0.0, 0.0, 1.0)
_MOST_STRETCHED = 8  # a sample aspect ratio beyond 8:1 is damage


def display_matrix(frame: VideoFrame) -> Matrix:
    """(a, b, c, d) of the frame's display matrix, UPRIGHT if it has none.

    A pixel at (x, y) is shown at (a x + c y, b x + d y), with y downwards. Only the signs, and which of the four are
    0, matter. See FFmpeg's libavutil/display.h.
    """
    try:
        matrix = read_side_data(frame, "DISPLAYMATRIX").get("DISPLAYMATRIX", b"")
    except ValueError:  # this PyAV fails on side data of a kind it does not know
        return _from_angle(frame.rotation)
    if len(matrix) != 36:
        return UPRIGHT
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix)
    return _scaled(a, b, c, d)


def turn_upright(pixels: NDArray[np.uint8], matrix: Matrix) -> NDArray[np.uint8]:
    """[H, W, 3] or [H, W] turned and mirrored as the display matrix says, to the nearest 90 degrees."""
    a, b, c, d = matrix
    if _turns_by_90(matrix):
        pixels = pixels.swapaxes(0, 1)
        a, d = c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def make_pixels_square(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """[H, W, 3] or [H, W] stretched to its `size` (height, width) with square pixels."""
    if size == pixels.shape[:2]:
        return pixels
    return np.asarray(cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def upright_size(square_size: tuple[int, int], matrix: Matrix) -> tuple[int, int]:
    """(height, width) of a frame after `make_pixels_square` and `turn_upright`."""
    height, width = square_size
    return (width, height) if _turns_by_90(matrix) else (height, width)


class SquareSizes:
    """The size with square pixels of each frame of a stream.

    What the container says is true of the whole file. Otherwise the stream's own headers count, which may change. PyAV
    shows the decoder's current value, which runs ahead of the frames. So once it has changed, each frame goes through
    FFmpeg's scale filter, the one place that shows a frame's own value, as the size of what comes out.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._context: Any = stream.codec_context
        self._first = as_fraction(self._context.sample_aspect_ratio)
        self.aspect = as_fraction(stream.sample_aspect_ratio) or Fraction(1)
        self._may_change = as_fraction(stream.sample_aspect_ratio) in (None, self._first)
        self._changed = False
        self._filters: tuple[tuple[int, int, str], Graph] | None = None

    def of(self, frame: VideoFrame) -> tuple[int, int]:
        """(height, width). Ask for every decoded frame, before the next packet is decoded."""
        if self._may_change and as_fraction(self._context.sample_aspect_ratio) != self._first:
            self._changed = True
        if not self._changed:
            return square_size(frame.height, frame.width, self.aspect)
        return self._measure(frame)

    def _measure(self, frame: VideoFrame) -> tuple[int, int]:
        kind = (frame.width, frame.height, frame.format.name)
        try:
            if self._filters is None or self._filters[0] != kind:
                self._filters = (kind, _aspect_filter(*kind))
            self._filters[1].push(frame)
            stretched: Any = self._filters[1].pull()
        except av.FFmpegError:  # a pixel format that the filter does not know
            return square_size(frame.height, frame.width, self.aspect)
        return int(stretched.height), int(stretched.width)


def square_size(height: int, width: int, sample_aspect: Fraction) -> tuple[int, int]:
    """(height, width) with square pixels: one side is stretched. `sample_aspect` is a pixel's width : height."""
    if not Fraction(1, _MOST_STRETCHED) <= sample_aspect <= _MOST_STRETCHED:
        return height, width
    if sample_aspect > 1:
        return height, round(width * sample_aspect)
    return round(height / sample_aspect), width


def _aspect_filter(width: int, height: int, pix_fmt: str) -> Graph:
    """Stretches each frame as `square_size` does, by the frame's own sample aspect ratio."""
    sane = f"between(sar,1/{_MOST_STRETCHED},{_MOST_STRETCHED})"
    graph = Graph()
    source = graph.add("buffer", video_size=f"{width}x{height}", pix_fmt=pix_fmt, time_base="1/25", pixel_aspect="0/1")
    scale = graph.add(
        "scale", w=f"if({sane}*gt(sar,1),round(iw*sar),iw)", h=f"if({sane}*lt(sar,1),round(ih/sar),ih)",
        eval="frame", flags="neighbor",
    )  # fmt: skip
    graph.link_nodes(source, scale, graph.add("buffersink")).configure()
    return graph


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
