"""The stage `fit`: decoded frames become RGB, upright, with square pixels, in the size that the model wants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from starcast.images.fit import NATIVE, fit
from starcast.runtime.video import colour
from starcast.runtime.video.film import Film, Frame
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.orientation import make_pixels_square, turn_upright
from starcast.runtime.video.report import FilmReport

if TYPE_CHECKING:
    from starcast.runtime.video.film import Item
    from starcast.runtime.video.frames import Beside


def fit_frames(
    items: Iterable[Item], source: Film, size: tuple[int, int], mode: str, report: FilmReport
) -> Iterator[RgbFrame | Beside]:
    """Frames as RGB, upright, with square pixels, fitted to `size` as `mode` says."""
    scaler = VideoReformatter()
    for item in items:
        if not isinstance(item, Frame):
            yield item
            continue
        with report.timed("fit"):
            pixels = colour.to_rgb(item.frame, source.name, scaler, source.stated)
            pixels = turn_upright(make_pixels_square(pixels, item.square_size), item.orientation)
            ready = RgbFrame(fit_frame(pixels, size, mode), item.pts, item.duration)
        yield ready


def fit_frame(pixels: NDArray[np.uint8], size: tuple[int, int], mode: str) -> NDArray[np.uint8]:
    """One frame, fitted as `mode` says. A native frame that no longer has the first one's size is scaled, and gets
    black margins if its aspect is another: circles stay round."""
    if mode == NATIVE:
        (rows, columns), (height, width) = pixels.shape[:2], size
        mode = "stretch" if abs(rows * width - columns * height) <= max(rows, columns, *size) else "pad"
    return fit(pixels, size, mode)
