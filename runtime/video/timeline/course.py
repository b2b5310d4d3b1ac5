"""The style of each frame of a film: constant, or a smooth course through styles that are given at some times."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.errors import OptionError
from starcast.runtime.source_styles import SourceStyles
from starcast.runtime.video.timeline.key_times import KeyTime
from starcast.runtime.video.timeline.spline import SMOOTH, Spline


@dataclass(frozen=True)
class Course:
    """When keys are, in seconds from the film's start and in order, and how each leads to the next (spline.EASES).

    `order`: the number of each key among those that were given. `period_s`: after which the course begins again.
    """

    times_s: tuple[Fraction, ...]
    eases: tuple[str, ...]
    order: tuple[int, ...]
    period_s: Fraction | None = None

    def spline(self, values: Sequence[Any] | NDArray[Any], *, bounded: bool = False) -> Spline:
        """The curve through `values`, one for each key, in the order in which the keys were given."""
        return Spline(
            [float(time) for time in self.times_s], [values[number] for number in self.order], self.eases,
            period=None if self.period_s is None else float(self.period_s), bounded=bounded,
        )  # fmt: skip

    def notes(self, duration_s: Fraction | None) -> list[str]:
        """What a user should know of keys that a film of this duration does not reach."""
        late = [] if duration_s is None else [time for time in self.times_s if time > duration_s]
        if duration_s is None or not late or self.period_s is not None:
            return []
        keys = f"the key at {float(late[0]):g} s lies" if len(late) == 1 else f"{len(late)} keys lie"
        return [f"{keys} after the end of the video, at {float(duration_s):g} s: the style is still on its way then"]


STILL = Course((Fraction(0),), (SMOOTH,), (0,))


def place_keys(
    keys: Sequence[tuple[KeyTime, str]], rate: Fraction, duration_s: Fraction | None, flag: str, *, loop: bool = False
) -> Course:
    """The course of keys, (time, ease) each, in any order, in a film of `rate` frames per second. With `loop`, the last
    leads back to the first at the film's end. Raises OptionError, which names `flag`."""
    try:
        times_s = [time.seconds(rate, duration_s) for time, _ in keys]
    except OptionError as error:
        raise OptionError(f"{flag} has {error}") from error
    order = sorted(range(len(keys)), key=times_s.__getitem__)
    for before, number in itertools.pairwise(order):
        if times_s[before] == times_s[number]:
            texts = " and ".join(dict.fromkeys(keys[key][0].text for key in (before, number)))
            raise OptionError(f"{flag} has two keys at the same time ({texts}): give each a time of its own")
    if loop and duration_s is None:
        raise OptionError("--loop needs a video whose duration is known: convert it to MP4 or MKV first")
    if loop and times_s[order[-1]] - times_s[order[0]] >= (duration_s or 0):
        raise OptionError(
            f"{flag} has a key at the end of the loop ({keys[order[-1]][0].text}), which returns to its first key by "
            "itself: leave that key out"
        )
    return Course(
        tuple(times_s[number] for number in order),
        tuple(keys[number][1] for number in order),
        tuple(order),
        duration_s if loop else None,
    )


def spread_keys(
    count: int, rate: Fraction, duration_s: Fraction | None, frames_per_step: int | None, *, loop: bool
) -> Course:
    """The course of `count` styles over a film: from its first frame to its end, or, with `loop`, once around; with
    `frames_per_step`, so many frames from one to the next. Raises OptionError if the film's duration is unknown."""
    if frames_per_step is not None:
        step_s = frames_per_step / rate
    elif duration_s is None:
        raise OptionError(
            "the styles cannot be spread over a video whose duration is unknown: give --frames-per-step, the number "
            "of frames from one style to the next"
        )
    else:
        step_s = duration_s / max(1, count if loop else count - 1)
    times_s = tuple(number * step_s for number in range(count))
    return Course(times_s, (SMOOTH,) * count, tuple(range(count)), count * step_s if loop else None)


class FilmStyles:
    """The style of each frame of a film: `styles` makes those of the keys on the first frame, `course` places them.

    Times are ticks of `time_base`. `name` is the film's, for progress.
    """

    def __init__(self, styles: SourceStyles, course: Course, time_base: Fraction, name: str) -> None:
        self._styles, self._course, self._time_base, self._name = styles, course, time_base, name
        self._keys: NDArray[np.float32] | None = None
        self._spline: Spline | None = None

    def at(self, images: NDArray[np.uint8], times: Sequence[int]) -> NDArray[np.float32]:
        """The styles of images [N, H, W, 3] of the frames at `times`: [S] if they share one, else [N, S]."""
        if self._keys is None or self._spline is None:
            self._place(self._styles.make(images[0], self._name))
        assert self._keys is not None
        assert self._spline is not None
        if len(self._keys) == 1:
            still: NDArray[np.float32] = self._keys[0]
            return still
        seconds = [float(time * self._time_base) for time in times]
        rows: NDArray[np.float32] = self._spline.at(seconds).astype(np.float32)
        shared: NDArray[np.float32] = rows[0]
        return shared if (rows == shared).all() else rows

    def state(self) -> dict[str, NDArray[Any]]:
        """What the styles of later frames depend on: the styles of the keys, once they are made."""
        if self._keys is None:
            return {}
        has = self._styles.has.get(self._name)
        return {"styles": self._keys, **({} if has is None else {"has": np.array(has, np.str_)})}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a state."""
        if "styles" in state:
            self._place(np.asarray(state["styles"], np.float32))
        if "has" in state:
            self._styles.has[self._name] = [str(name) for name in state["has"]]

    def _place(self, keys: NDArray[np.float32]) -> None:
        self._keys, self._spline = keys, self._course.spline(keys)
