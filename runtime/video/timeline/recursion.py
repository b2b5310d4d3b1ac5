"""The last output fed back: each input is a mixture of its frame and the last translation, which moves from frame to
frame. So a still picture dreams, and a moving one leaves traces."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from starcast.runtime.video.timeline.course import place_keys
from starcast.runtime.video.timeline.keyframes import NumberKey
from starcast.runtime.video.timeline.recursion_options import FLAGS, RecursionOptions
from starcast.runtime.video.timeline.spline import Spline


class Recursion:
    """Mixes the last translation into each frame: (1 - opacity) * frame + opacity * moved translation.

    `keys`: of each option in FLAGS. `rate` and `duration_s` are the film's; times are ticks of `time_base`. Raises
    OptionError for keys that the film cannot have.
    """

    def __init__(
        self,
        keys: Mapping[str, Sequence[NumberKey]],
        rate: Fraction,
        duration_s: Fraction | None,
        time_base: Fraction,
    ) -> None:
        self._time_base = time_base
        self._curves: dict[str, Spline] = {}
        for name, numbers in keys.items():
            course = place_keys([(key.time, key.ease) for key in numbers], rate, duration_s, FLAGS[name])
            self._curves[name] = course.spline([key.values for key in numbers], bounded=True)
        self._last: NDArray[np.uint8] | None = None

    def mix(self, frame: NDArray[np.uint8], time: int) -> NDArray[np.uint8]:
        """The input of the frame [H, W, 3] at `time`: the first frame itself, later ones with the last translation."""
        if self._last is None:
            return frame
        now = {name: curve.at([float(time * self._time_base)])[0] for name, curve in self._curves.items()}
        [opacity], [zoom] = now["recursion"], now["recursion_zoom"]
        [degrees], [shear] = now["recursion_rotate"], now["recursion_shear"]
        if not opacity:
            return frame
        height, width = frame.shape[:2]
        matrix = motion((height, width), zoom, degrees, shear, now["recursion_shift"])
        moved = cv2.warpAffine(
            self._last.astype(np.float32), matrix, (width, height),
            flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101,
        )  # fmt: skip
        mixture = frame * np.float32(1 - opacity) + moved * np.float32(opacity)
        return np.rint(mixture).clip(0, 255).astype(np.uint8)

    def remember(self, translation: NDArray[np.uint8]) -> None:
        """Feed this translation back into the next frame."""
        self._last = translation.copy()

    def state(self) -> dict[str, NDArray[Any]]:
        return {} if self._last is None else {"last": self._last}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._last = state.get("last")


def recursion_of(
    options: RecursionOptions, rate: Fraction, duration_s: Fraction | None, time_base: Fraction
) -> Recursion | None:
    """The recursion that options ask for; None if they ask for none. Raises OptionError."""
    return None if options.recursion is None else Recursion(options.recursion_keys, rate, duration_s, time_base)


def motion(
    size: tuple[int, int], zoom: float, degrees: float, shear: float, shift: Sequence[float] | NDArray[Any]
) -> NDArray[np.float64]:
    """The matrix [2, 3] that moves an image of `size` (height, width) about its centre: sheared, so that `shear` times
    the distance below the centre moves it to the right, then turned counter-clockwise by `degrees`, enlarged `zoom`
    times, and shifted by (x, y) pixels."""
    angle = math.radians(degrees)
    turned = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    linear = zoom * turned @ np.array([[1.0, shear], [0.0, 1.0]])
    centre = (np.array(size[::-1]) - 1) / 2
    return np.column_stack([linear, centre - linear @ centre + np.asarray(shift)])
