"""How many frames a video should have, from what its container says, without decoding anything."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av

from starcast.errors import StarcastError
from starcast.runtime.video.input.opening import open_video
from starcast.runtime.video.input.sequence_files import find_files, is_sequence
from starcast.runtime.video.options import MAX_FRAME_PIXELS
from starcast.runtime.video.timing import as_fraction


def expected_frames(path: Path) -> int:
    """An estimate; 0 if the container does not say, and for what is no video."""
    try:
        if is_sequence(path):
            return len(find_files(path).names)
        with open_video(path, MAX_FRAME_PIXELS) as container:
            stream = container.streams.best("video")
            if stream is None:
                return 0
            seconds = Fraction(container.duration or 0, av.time_base)
            rate = as_fraction(getattr(stream, "average_rate", None)) or Fraction(0)
            return int(stream.frames or round(seconds * rate))
    except (StarcastError, av.FFmpegError, OSError, ValueError):
        return 0
