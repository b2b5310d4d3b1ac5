"""A morph of a given duration: one still picture on the timeline of `video`, as a closed loop."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from starcast.runtime.video.options import MorphOptions
from starcast.runtime.video.timeline.course import STILL, Course, place_keys, spread_keys
from starcast.runtime.video.timeline.key_times import parse_duration
from starcast.runtime.video.timeline.keyframes import STYLE_KEYS, StyleKey
from starcast.runtime.video.timeline.style_path import Stop, merge_equal


def frames_in(options: MorphOptions, rate: Fraction) -> int | None:
    """The frames of a morph of a given duration; None if its steps say how long it is. Raises OptionError."""
    if options.duration is None:
        return None
    return max(1, round(parse_duration(options.duration, "--duration") * rate))


def closed_course(keys: tuple[StyleKey, ...], count: int, frames: int, rate: Fraction) -> Course:
    """The loop through `count` styles in so many frames, or through those of `keys`. Raises OptionError."""
    duration_s = frames / rate
    if keys:
        return place_keys([(key.time, key.ease) for key in keys], rate, duration_s, STYLE_KEYS, loop=len(keys) > 1)
    return STILL if count == 1 else spread_keys(count, rate, duration_s, None, loop=True)


def stops_along(course: Course, styles: NDArray[np.float32], frames: int, rate: Fraction) -> Iterator[Stop]:
    """The stops of a film whose styles follow a course; frames of the same style are one stop."""
    spline = course.spline(styles)
    return merge_equal(spline.at([float(number / rate)])[0].astype(np.float32) for number in range(frames))
