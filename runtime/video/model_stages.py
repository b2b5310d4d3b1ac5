"""The stages between `fit` and `encode`: the model, on whole frames or on the faces in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from starcast.runtime.stages import Batches, batched_among
from starcast.runtime.translator import Translator
from starcast.runtime.video.faces import (
    ALIGN,
    PUT_BACK,
    FilmFaces,
    Translate,
    find_faces,
    put_faces_back,
    translate_faces,
)
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.match_colour import matching
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.restart.memory import remember
from starcast.runtime.video.timeline.course import FilmStyles
from starcast.runtime.video.timeline.recursion import Recursion

if TYPE_CHECKING:
    from starcast.runtime.video.frames import Beside

_FEW = 2  # whole frames between the stages of faces: they may be large


@contextmanager
def translating(
    frames: Iterable[RgbFrame | Beside], model: FilmModel, options: VideoOptions, report: FilmReport
) -> Iterator[Iterator[RgbFrame | Beside]]:
    """The stage that translates whole frames."""
    batch = model.batch(options.batch)
    translated = translate_frames(frames, model, batch, report, keep_sources=options.smooth > 0)
    with report.ahead(_remember_model(translated, model), "run") as translations:
        yield translations


@contextmanager
def translating_faces(
    frames: Iterable[RgbFrame | Beside], model: FilmModel, options: VideoOptions, report: FilmReport, faces: FilmFaces
) -> Iterator[Iterator[RgbFrame | Beside]]:
    """The stages that find the faces in frames, translate them, and put them back."""
    batch = model.batch(options.batch)
    run = matching(model) if options.match_colour else model
    with (
        report.ahead(find_faces(frames, faces, report), ALIGN, _FEW) as found,
        report.ahead(translate_faces(found, run, batch, report), "run", _FEW) as translated,
        report.ahead(_remember_model(put_faces_back(translated, report), model), PUT_BACK, _FEW) as translations,
    ):
        yield translations


class FilmModel:
    """Translates images of a film's frames, each in the style of its time. With a recursion, the images are whole
    frames, and each gets the last translation mixed in. Remembers what that depends on (memory.py)."""

    def __init__(self, translator: Translator, styles: FilmStyles, recursion: Recursion | None = None) -> None:
        self.translator = translator
        self._styles, self._recursion = styles, recursion

    def batch(self, wanted: int | None) -> int:
        """How many frames are translated at once. With a recursion, each frame waits for the one before it."""
        return 1 if self._recursion is not None else wanted or self.translator.batch

    def __call__(self, images: NDArray[np.uint8], times: Sequence[int]) -> NDArray[np.uint8]:
        if self._recursion is None:
            return self.translator(images, self._styles.at(images, times))
        translations = []
        for image, time in zip(images, times, strict=True):
            mixed = self._recursion.mix(image, time)[None]
            [translation] = self.translator(mixed, self._styles.at(mixed, [time]))
            self._recursion.remember(translation)
            translations.append(translation)
        return np.stack(translations)

    def state(self) -> dict[str, NDArray[Any]]:
        return {**self._styles.state(), **(self._recursion.state() if self._recursion is not None else {})}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._styles.restore(state)
        if self._recursion is not None:
            self._recursion.restore(state)


def _remember_model(items: Iterable[RgbFrame | Beside], model: FilmModel) -> Iterator[RgbFrame | Beside]:
    for item in items:
        yield remember(item, "model", model) if isinstance(item, RgbFrame) else item


def translate_frames(
    items: Iterable[RgbFrame | Beside],
    translate: Translate,
    batch: int,
    report: FilmReport,
    *,
    keep_sources: bool = False,
) -> Iterator[RgbFrame | Beside]:
    """Frames translated in order, in batches of `batch`. Packets may overtake them, because the muxer sorts.
    `keep_sources`: each takes along what it was translated from."""

    def run(frames: Sequence[RgbFrame]) -> Iterable[RgbFrame]:
        with report.timed("run", len(frames)):
            translations = translate(np.stack([frame.pixels for frame in frames]), [frame.pts for frame in frames])
        pairs = zip(frames, translations, strict=True)
        if keep_sources:
            return (replace(frame, pixels=pixels, source=frame.pixels) for frame, pixels in pairs)
        return (replace(frame, pixels=pixels) for frame, pixels in pairs)

    # results may depend on what else is in a batch, so no batch goes beyond a segment
    return batched_among(items, RgbFrame, Batches(batch, run, last=lambda frame: frame.ends_segment))
