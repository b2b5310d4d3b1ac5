"""Where the pixels of a frame were in the frame before it, and how unsteady a film is along that motion."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_RELATIVE, _ABSOLUTE = 0.01, 0.5  # of Sundaram et al. (2010): how far the way there and back may miss its start
_ALIKE = 50.0  # of Lai et al. (2018): weight exp(-50 d²) of a pixel whose colour differs by d, in units of the range


class Motion(NamedTuple):
    """`came_from` [H, W, 2]: where each pixel was in the frame before, (x, y). `visible` [H, W]: whether it was to be
    seen there. `trust` [H, W]: 0 to 1, how sure that is."""

    came_from: NDArray[np.float32]
    visible: NDArray[np.bool_]
    trust: NDArray[np.float32]


class FlowFinder:
    """Optical flow between two frames by OpenCV's DIS. A pixel is visible in both if the way there and back ends where
    it began."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def find(self, before: NDArray[np.uint8], now: NDArray[np.uint8]) -> Motion:
        """The motion from the frame `before`, uint8 RGB [H, W, 3], to `now`."""
        height, width = now.shape[:2]
        grey_before, grey_now = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (before, now))
        back = np.asarray(self._flow.calc(grey_now, grey_before, None), np.float32)  # type: ignore[call-overload]
        there = np.asarray(self._flow.calc(grey_before, grey_now, None), np.float32)  # type: ignore[call-overload]
        grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
        came_from = grid + back
        returned = warp(there, came_from)
        miss = np.square(back + returned).sum(axis=-1)
        allowed = _RELATIVE * (np.square(back).sum(axis=-1) + np.square(returned).sum(axis=-1)) + _ABSOLUTE
        inside = ((came_from >= 0) & (came_from <= (width - 1, height - 1))).all(axis=-1)
        visible = inside & (miss <= allowed)
        differs = (now.astype(np.float32) - warp(before.astype(np.float32), came_from)) / 255
        trust = visible * np.exp(-_ALIKE * np.square(differs).sum(axis=-1))
        return Motion(came_from, visible, trust.astype(np.float32))


def warp(image: NDArray[np.float32], came_from: NDArray[np.float32]) -> NDArray[np.float32]:
    """An image [H, W, C] of the frame before, moved to where its pixels are now."""
    moved = cv2.remap(image, came_from, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(moved, np.float32)


def warping_error(before: NDArray[np.float32], now: NDArray[np.float32], motion: Motion) -> float | None:
    """The warping error of two consecutive frames [H, W, 3] in 0 to 255, as Lai et al. (2018) define it: the mean over
    the pixels visible in both of the squared distance of the colours, in units of the range. None if there are none."""
    if not motion.visible.any():
        return None
    differs = (now - warp(before, motion.came_from))[motion.visible] / 255
    return float(np.square(differs, dtype=np.float64).sum(axis=-1).mean())
