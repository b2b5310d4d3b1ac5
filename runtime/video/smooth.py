"""`--smooth`: less flicker. Each translation is blended with the last one, moved as the source moved in between.

What was hidden in the last frame, left it, or changed its colour is not blended, so that nothing drags behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from starcast.runtime.video.flow import FlowFinder, warp, warping_error
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.restart.memory import remember

if TYPE_CHECKING:
    from starcast.runtime.video.frames import Beside

    Making = Callable[[Iterable[RgbFrame | Beside]], AbstractContextManager[Iterator[RgbFrame | Beside]]]

SMOOTH = "smooth"  # stage of the report


class Smoother:
    """Blends translations along the motion of their sources; `strength` 0 leaves them as they are, 1 keeps what was
    seen before. `warping_error`: of the film before and after, so far (flow.py)."""

    def __init__(self, strength: float) -> None:
        self._strength = np.float32(strength)
        self._flow = FlowFinder()
        self._last: tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]] | None = None
        self._sums = np.zeros(3)  # of errors before and after, and pairs of frames

    @property
    def warping_error(self) -> dict[str, float] | None:
        """The mean error over all pairs of frames, `before` and `after`; None if there is no pair."""
        before, after, pairs = self._sums.tolist()
        return {"before": before / pairs, "after": after / pairs} if pairs else None

    def smooth(self, source: NDArray[np.uint8], translation: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The next translation, smoothed; both images are RGB [H, W, 3] of one size."""
        smoothed = raw = translation.astype(np.float32)
        if self._last is not None:
            last_source, last_raw, last_smoothed = self._last
            motion = self._flow.find(last_source, source)
            share = (self._strength * motion.trust)[..., None]
            smoothed = raw + share * (warp(last_smoothed, motion.came_from) - raw)
            before = warping_error(last_raw.astype(np.float32), raw, motion)
            after = warping_error(last_smoothed, smoothed, motion)
            if before is not None and after is not None:
                self._sums += (before, after, 1)
        self._last = source, translation, smoothed
        return np.rint(smoothed).clip(0, 255).astype(np.uint8)

    def state(self) -> dict[str, NDArray[Any]]:
        if self._last is None:
            return {}
        return {**dict(zip(("source", "raw", "smoothed"), self._last, strict=True)), "sums": self._sums.copy()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        if state:
            self._last = state["source"], state["raw"], state["smoothed"]
            self._sums = np.array(state["sums"], np.float64)


def smooth_frames(
    items: Iterable[RgbFrame | Beside], smoother: Smoother, report: FilmReport
) -> Iterator[RgbFrame | Beside]:
    """The same frames, smoothed. They have the sources that they were translated from."""
    for item in items:
        if not isinstance(item, RgbFrame) or item.source is None:
            yield item
            continue
        with report.timed(SMOOTH):
            pixels = smoother.smooth(item.source, item.pixels)
            frame = remember(replace(item, pixels=pixels, source=None), SMOOTH, smoother)
        yield frame
    report.figures["warping_error"] = smoother.warping_error


@contextmanager
def smoothing(
    frames: Iterable[RgbFrame | Beside], making: Making, smoother: Smoother, report: FilmReport
) -> Iterator[Iterator[RgbFrame | Beside]]:
    """The stages of `making`, and behind them the one that smooths."""
    with making(frames) as made, report.ahead(smooth_frames(made, smoother, report), SMOOTH, yields=True) as smoothed:
        yield smoothed
