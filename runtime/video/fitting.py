"""The stage `fit`: decoded frames become RGB, upright, with square pixels, in the size that the model wants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from av.video.reformatter import VideoReformatter

from starcast.runtime.video import colour
from starcast.runtime.video.film import Film, Frame
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.geometry import Geometry
from starcast.runtime.video.orientation import make_pixels_square, turn_upright
from starcast.runtime.video.report import FilmReport

if TYPE_CHECKING:
    from starcast.runtime.video.film import Item
    from starcast.runtime.video.frames import Beside


def fit_frames(
    items: Iterable[Item], source: Film, geometry: Geometry, report: FilmReport
) -> Iterator[RgbFrame | Beside]:
    """Frames as RGB, upright, with square pixels, fitted to the model."""
    scaler = VideoReformatter()
    for item in items:
        if not isinstance(item, Frame):
            yield item
            continue
        with report.timed("fit"):
            pixels = colour.to_rgb(item.frame, source.name, scaler, source.stated)
            pixels = turn_upright(make_pixels_square(pixels, item.square_size), item.orientation)
            image, original, placing = geometry.cut(pixels)
            ready = RgbFrame(image, item.pts, item.duration, original=original, placing=placing)
        yield ready
