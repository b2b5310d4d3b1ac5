"""How many frames a translated video should have, from what its container says, without decoding anything."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av

from starcast.errors import StarcastError
from starcast.runtime.video.input.input_options import USUAL_RATE
from starcast.runtime.video.input.opening import open_video
from starcast.runtime.video.input.sequence_files import find_files, is_sequence
from starcast.runtime.video.options import MAX_FRAME_PIXELS, VideoOptions
from starcast.runtime.video.timing import as_fraction


def expected_frames(path: Path, options: VideoOptions) -> int:
    """An estimate of the frames that are made of a film; 0 if the container does not say, and for what is no video."""
    try:
        if is_sequence(path):
            rate = options.rate or USUAL_RATE
            return _in_part(len(find_files(path).names), rate, rate, options)
        with open_video(path, MAX_FRAME_PIXELS) as container:
            stream = container.streams.best("video")
            if stream is None:
                return 0
            seconds = Fraction(container.duration or 0, av.time_base)
            rate = as_fraction(getattr(stream, "average_rate", None)) or Fraction(0)
            frames = int(stream.frames or round(seconds * rate))
            return _in_part(frames, rate, options.rate or rate, options) if rate else frames
    except (StarcastError, av.FFmpegError, OSError, ValueError):
        return 0


def _in_part(frames: int, rate: Fraction, new_rate: Fraction, options: VideoOptions) -> int:
    """How many frames of `new_rate` are between --start and --end of a film of `frames` frames at `rate`."""
    whole_s = frames / rate
    start, end = (None if time is None else min(whole_s, time.seconds(rate, whole_s)) for time in options.range)
    return max(0, round(((whole_s if end is None else end) - (start or 0)) * new_rate))
