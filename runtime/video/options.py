"""The options of `starcast video`."""

from __future__ import annotations

from dataclasses import dataclass

from starcast.options import option
from starcast.runtime.fit import FITS
from starcast.runtime.styles import StyleOptions
from starcast.runtime.video.film_options import MAX_PIXELS, FilmOptions


@dataclass(frozen=True, kw_only=True)
class VideoOptions(FilmOptions, StyleOptions):
    """What `translate_video` does."""

    fit: str = option("crop", "How a frame gets the model's size: crop the centre, pad with black, or stretch; "
                      "native keeps its own size.", choices=FITS)  # fmt: skip
    max_pixels: int = option(MAX_PIXELS, "Videos with more pixels a frame are refused before decoding.", minimum=1)
