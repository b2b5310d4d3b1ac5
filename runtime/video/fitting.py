"""The stage `fit`: decoded frames become RGB, upright, with square pixels, in the size that the model wants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from starcast.runtime.video import colour
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.geometry import Geometry
from starcast.runtime.video.input.film import Film, Frame
from starcast.runtime.video.input.orientation import make_pixels_square, turn_upright
from starcast.runtime.video.report import FilmReport

if TYPE_CHECKING:
    from starcast.runtime.video.frames import Beside, Stored
    from starcast.runtime.video.input.film import Item


def fit_frames(
    items: Iterable[Item | Stored], source: Film, geometry: Geometry, report: FilmReport
) -> Iterator[RgbFrame | Beside]:
    """Frames as RGB, upright, with square pixels, fitted to the model."""
    scaler = VideoReformatter()
    for item in items:
        if not isinstance(item, Frame):
            yield item
            continue
        with report.timed("fit"):
            pixels, alpha = colour.to_rgb_and_alpha(item.frame, source.name, scaler, source.stated)
            pixels = turn_upright(make_pixels_square(pixels, item.square_size), item.orientation)
            image, original, placing = geometry.cut(pixels)
            ready = RgbFrame(image, item.pts, item.duration, original=original, placing=placing)
            if item.keeps_alpha:
                ready = replace(ready, alpha=_fit_alpha(alpha, item, geometry))
        yield ready


def _fit_alpha(alpha: NDArray[np.uint8] | None, item: Frame, geometry: Geometry) -> NDArray[np.uint8]:
    """How opaque the film's frame is. The margins of `pad` are transparent, a frame that has no transparency is not."""
    if item.alpha is not None:
        alpha = item.alpha
    if alpha is None:
        alpha = np.full((item.frame.height, item.frame.width), 255, np.uint8)
    return geometry.cut_alpha(turn_upright(make_pixels_square(alpha, item.square_size), item.orientation))
