"""Give a translation the colours of its source: mean and spread of luma and of both colour differences.

Each frame is matched to its own source and to nothing else. So the means do not flicker more than the source's do, and
nothing has to be remembered from frame to frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from starcast.runtime.video.faces import Translate

_MOST = 3.0  # a nearly flat translation is noise: its contrast is raised by no more than this
_FLAT = 0.5  # levels: rounding alone spreads values by 0.3

# Y, Cr, Cb from R, G, B, as in JPEG (ITU-T T.871), without the offset of 128, which drops out
_TO_YCC = np.array([[0.299, 0.587, 0.114], [0.5, -0.418688, -0.081312], [-0.168736, -0.331264, 0.5]])
_TO_RGB = np.linalg.inv(_TO_YCC)


def match_colour(image: NDArray[np.uint8], like: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`image`, uint8 RGB [H, W, 3], with the mean and the spread of `like`, which may have another size."""
    mean, spread = _statistics(image)
    wanted_mean, wanted_spread = _statistics(like)
    gain = np.clip(wanted_spread / np.maximum(spread, _FLAT), 1 / _MOST, _MOST)
    change = _TO_RGB @ np.diag(gain) @ _TO_YCC
    offset = _TO_RGB @ (wanted_mean - gain * mean)
    return np.asarray(cv2.transform(image, np.column_stack([change, offset])), np.uint8)  # rounds and clips


def matching(run: Translate) -> Translate:
    """Translates as `run` does, and matches each translation to its source."""

    def translate(sources: NDArray[np.uint8], times: Sequence[int]) -> NDArray[np.uint8]:
        pairs = zip(run(sources, times), sources, strict=True)
        return np.stack([match_colour(translation, source) for translation, source in pairs])

    return translate


def _statistics(image: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of Y, Cr and Cb; the latter two around 0."""
    mean, spread = cv2.meanStdDev(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    middle, scale = np.asarray(mean, np.float64)[:, 0], np.asarray(spread, np.float64)[:, 0]
    return middle - np.array([0.0, 128.0, 128.0]), scale
