"""The stage `compose`: translations become the film's frames, put back into the frames that they were cut from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.geometry import put_back
from starcast.runtime.video.geometry_options import GeometryOptions
from starcast.runtime.video.report import FilmReport

if TYPE_CHECKING:
    from starcast.runtime.video.frames import Beside

    Making = Callable[[Iterable[RgbFrame | Beside]], AbstractContextManager[Iterator[RgbFrame | Beside]]]

COMPOSE = "compose"  # stage of the report
_FEW = 2  # whole frames that wait to be encoded: they may be large


@dataclass(frozen=True)
class Composer:
    """Makes the film's frames of translations, as the options say."""

    options: GeometryOptions

    def compose(self, frame: RgbFrame) -> RgbFrame:
        """The film's frame of one translation."""
        if frame.original is None or frame.placing is None:
            return frame
        whole = frame.original.copy()
        put_back(whole, frame.pixels, frame.placing, self.options.feather)
        return replace(frame, pixels=whole, original=None, placing=None)


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
        report.ahead(compose_frames(made, composer, report), COMPOSE, _FEW) as composed,
    ):
        yield composed
