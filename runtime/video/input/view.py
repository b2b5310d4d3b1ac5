"""What of a film `video` translates: opened, and checked against the options before an engine is."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from starcast.errors import OptionError, printable
from starcast.runtime.video.input.film import Film, Frame
from starcast.runtime.video.input.pace import Paced
from starcast.runtime.video.input.sequence_files import is_sequence
from starcast.runtime.video.input.source import open_film
from starcast.runtime.video.input.trim import trim

if TYPE_CHECKING:
    from starcast.runtime.video.options import VideoOptions


def open_view(path: Path, options: VideoOptions) -> Film:
    """The part of the film that is translated, at the rate that is asked for. Raises VideoError, ImageError or
    OptionError, which name the file."""

    def frame_times(last: int) -> Sequence[Fraction]:
        """When the frames 0 to `last` are shown. Reads the film for it, as only that tells which frames there are."""
        if not path.is_file() and not is_sequence(path):
            raise OptionError(
                f"{printable(path)} can be read only once, and frames are counted by reading it: give --start and "
                "--end in seconds"
            )
        times: list[Fraction] = []
        with open_film(path, options.max_pixels, options) as again, closing(_frames(again)) as frames:
            for frame in frames:
                times.append(frame.pts * again.time_base)
                if len(times) > last:
                    break
        return times

    film = open_film(path, options.max_pixels, options)
    try:
        options.roi_in(film.shown_size, film.name)
        part = trim(film, options, frame_times)
        return part if options.rate is None or is_sequence(path) else Paced(part, options.rate)
    except BaseException:
        film.close()
        raise


def _frames(film: Film) -> Generator[Frame]:
    yield from (item for item in film.read() if isinstance(item, Frame))
