"""What of a film `video` translates: opened, and checked against the options before an engine is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starcast.runtime.video.film import Film
from starcast.runtime.video.source import open_film

if TYPE_CHECKING:
    from starcast.runtime.video.options import VideoOptions


def open_view(path: Path, options: VideoOptions) -> Film:
    """The film that is translated. Raises VideoError, ImageError or OptionError, which name the file."""
    film = open_film(path, options.max_pixels, options)
    try:
        options.roi_in(film.shown_size, film.name)
    except BaseException:
        film.close()
        raise
    return film
