"""The options of `starcast video`."""

from __future__ import annotations

from dataclasses import dataclass

from starcast import flags
from starcast.images.fit import FITS
from starcast.runtime.style_requests import StyleOptions
from starcast.runtime.video.film_options import MAX_PIXELS, FilmOptions


@dataclass(frozen=True, kw_only=True)
class VideoOptions(FilmOptions, StyleOptions):
    """What `translate_video` does."""

    domain: str | None = flags.domain()
    fit: str = flags.fit("crop", FITS)
    max_pixels: int = flags.max_pixels(MAX_PIXELS, "Counted per frame.")
