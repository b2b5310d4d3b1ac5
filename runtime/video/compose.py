"""The stage `compose`: translations become the film's frames, put back into their sources or shown beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.geometry import Image, Placing, patch_for, soften
from starcast.runtime.video.geometry_options import SIDE_BY_SIDE, SPLIT, STACKED, GeometryOptions
from starcast.runtime.video.match_colour import match_colour
from starcast.runtime.video.report import FilmReport

if TYPE_CHECKING:
    from starcast.runtime.video.frames import Beside
    from starcast.runtime.video.options import VideoOptions

    Making = Callable[[Iterable[RgbFrame | Beside]], AbstractContextManager[Iterator[RgbFrame | Beside]]]

COMPOSE = "compose"  # stage of the report
_FEW = 2  # whole frames that wait to be encoded: they may be large


@dataclass(frozen=True)
class Composer:
    """Makes the film's frames of translations and their sources. `matches`: the colours of whole frames are matched;
    those of faces are, before they are put back."""

    options: GeometryOptions
    matches: bool

    def compose(self, frame: RgbFrame) -> RgbFrame:
        """The film's frame of one translation."""
        source, placing = frame.original, frame.placing
        if source is None or placing is None:
            return frame
        translated = self._put_back(source, frame.pixels, placing)
        pixels = _lay_out(source, translated, self.options)
        alpha = None if frame.alpha is None else _lay_out(frame.alpha, frame.alpha, self.options)
        return replace(frame, pixels=pixels, alpha=alpha, original=None, placing=None)

    def _put_back(self, source: Image, translation: Image, placing: Placing) -> Image:
        """A copy of the source with the translation in its place."""
        whole = source.copy()
        left, top, right, bottom = placing.part
        part = whole[top:bottom, left:right]
        patch = patch_for((bottom - top, right - left), translation, placing)
        if self.matches:
            patch = match_colour(patch, part)
        if self.options.opacity != 1:
            patch = np.asarray(
                cv2.addWeighted(patch, self.options.opacity, part, 1 - self.options.opacity, 0), np.uint8
            )
        soften(patch, part, placing.soft, self.options.feather)
        part[:] = patch
        return whole


def composer_for(options: VideoOptions) -> Composer:
    """The composer that a film needs."""
    return Composer(options, matches=options.match_colour and not options.align)


def _lay_out(source: Image, translation: Image, options: GeometryOptions) -> Image:
    """What a frame shows, of two images of the same size, [H, W, 3] or [H, W]. The second may be changed."""
    if options.layout == SIDE_BY_SIDE:
        return np.asarray(cv2.hconcat([source, translation]), np.uint8)
    if options.layout == STACKED:
        return np.asarray(cv2.vconcat([source, translation]), np.uint8)
    if options.layout == SPLIT:
        column = round(options.split_at * source.shape[1])
        translation[:, :column] = source[:, :column]
    return translation


def compose_frames(
    items: Iterable[RgbFrame | Beside], composer: Composer, report: FilmReport
) -> Iterator[RgbFrame | Beside]:
    """The same frames, composed."""
    for item in items:
        if not isinstance(item, RgbFrame):
            yield item
            continue
        with report.timed(COMPOSE):
            frame = composer.compose(item)
        yield frame


@contextmanager
def composing(
    frames: Iterable[RgbFrame | Beside], making: Making, composer: Composer, report: FilmReport
) -> Iterator[Iterator[RgbFrame | Beside]]:
    """The stages of `making`, and behind them the one that composes."""
    with (
        making(frames) as made,
        report.ahead(compose_frames(made, composer, report), COMPOSE, _FEW, yields=True) as composed,
    ):
        yield composed
