"""A frame of a source and the same moment of its translation, as small images for the page about many videos."""

from __future__ import annotations

import base64
import contextlib
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from starcast.errors import StarcastError
from starcast.images.read import read_image
from starcast.runtime.video.colour import to_rgb
from starcast.runtime.video.input.film import Frame
from starcast.runtime.video.input.film_kinds import ANIMATED, is_animated
from starcast.runtime.video.input.opening import open_video
from starcast.runtime.video.input.orientation import display_matrix, turn_upright
from starcast.runtime.video.input.sequence_files import find_files, is_sequence
from starcast.runtime.video.input.source import open_film
from starcast.runtime.video.options import MAX_FRAME_PIXELS, VideoOptions
from starcast.runtime.video.timing import as_fraction

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH = 320  # in pixels
_QUALITY = 80  # of the JPEG
_PLACE = Fraction(1, 3)  # of what is translated, where the frame is from
_MOST_DECODED = 600  # frames that are decoded to get there


class _Moment(NamedTuple):
    """A time in seconds, and the share of the film that lies before it: a sequence has no times. `stream`: the number
    of the video stream that is shown; None: the best."""

    seconds: Fraction
    share: Fraction
    stream: int | None = None


def thumbnails_of(source: Path, target: Path, options: VideoOptions) -> tuple[str, str]:
    """A frame of each at a third of what is translated, as data URIs; "" for one that is not to be had."""
    try:
        begin_s, lasts_s, whole_s, stream = _part(source, options)
    except (StarcastError, av.FFmpegError, OSError, ValueError):
        return "", ""
    into_s = _PLACE * lasts_s
    in_source = _Moment(begin_s + into_s, (begin_s + into_s) / whole_s if whole_s else _PLACE, stream)
    return thumbnail_of(source, in_source), thumbnail_of(target, _Moment(into_s, _PLACE))


def thumbnail_of(video: Path, moment: _Moment) -> str:
    """The frame that is shown at a moment, as a data URI; "" if it is not to be had."""
    read: Callable[[Path, _Moment], NDArray[np.uint8] | None] = _frame_of
    if is_sequence(video):
        read = _image_of
    elif video.suffix.lower() in ANIMATED and is_animated(video):
        read = _frame_of_animation
    try:
        frame = read(video, moment)
    except (StarcastError, av.FFmpegError, OSError, ValueError):
        return ""
    if frame is None:
        return ""
    height = max(1, round(frame.shape[0] * WIDTH / frame.shape[1]))
    small = cv2.resize(np.ascontiguousarray(frame), (WIDTH, height), interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode('ascii')}"


def _part(source: Path, options: VideoOptions) -> tuple[Fraction, Fraction, Fraction, int | None]:
    """When the part of a film that is translated begins, how long it is, and the whole film, in seconds; and the number
    of its stream. A number of frames counts at the film's average rate."""
    start, end = options.range
    with open_film(source, options.max_pixels, options) as film:
        whole_s, rate, stream = film.duration_s or Fraction(0), film.rate, getattr(film, "index", None)
    begin_s = Fraction(0) if start is None else start.seconds(rate, whole_s)
    end_s = whole_s if end is None else min(end.seconds(rate, whole_s), whole_s)
    return begin_s, max(end_s - begin_s, Fraction(0)), whole_s, stream


def _image_of(sequence: Path, moment: _Moment) -> NDArray[np.uint8]:
    files = find_files(sequence)
    number = int(len(files.names) * moment.share)
    return read_image(files.folder / files.names[min(number, len(files.names) - 1)])


def _frame_of_animation(path: Path, moment: _Moment) -> NDArray[np.uint8] | None:
    with open_film(path, MAX_FRAME_PIXELS) as film:
        shown: Frame | None = None
        for frame in (item for item in film.read() if isinstance(item, Frame)):
            if shown is not None and frame.pts * film.time_base > moment.seconds:
                break
            shown = frame
        return None if shown is None else to_rgb(shown.frame)


def _frame_of(video: Path, moment: _Moment) -> NDArray[np.uint8] | None:
    with open_video(video, MAX_FRAME_PIXELS) as container:
        stream: Any = container.streams.best("video")
        if moment.stream is not None:
            stream = container.streams[moment.stream]
        if stream is None:
            return None
        tick = as_fraction(stream.time_base) or Fraction(1)
        begin_s = stream.start_time * tick if stream.start_time is not None else Fraction(0)
        wanted_s = begin_s + moment.seconds
        with contextlib.suppress(av.FFmpegError):
            container.seek(int(wanted_s * av.time_base))
        shown: Any = None
        for number, frame in enumerate(container.decode(stream)):
            if shown is not None and frame.pts is not None and frame.pts * tick > wanted_s:
                break
            shown = frame
            if number >= _MOST_DECODED:
                break
        if shown is None:
            return None
        return turn_upright(to_rgb(shown), display_matrix(shown))
