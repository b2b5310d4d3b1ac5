"""The stages between `fit` and `encode`: the model, on whole frames or on the faces in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from starcast.runtime.faces.sight import Sight
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
from starcast.runtime.video.film import Film
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.match_colour import matching
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.timeline import FilmStyles

if TYPE_CHECKING:
    from starcast.runtime.video.frames import Beside

_FEW = 2  # whole frames between the stages of faces: they may be large


@contextmanager
def translating(
    frames: Iterable[RgbFrame | Beside], film: Film, translator: Translator, styles: FilmStyles,
    options: VideoOptions, report: FilmReport,
) -> Iterator[Iterator[RgbFrame | Beside]]:  # fmt: skip
    """The stage that translates whole frames."""
    run, batch = _in_style(translator, styles), options.batch or translator.batch
    with report.ahead(translate_frames(frames, run, batch, report), "run") as translations:
        yield translations


@contextmanager
def translating_faces(
    frames: Iterable[RgbFrame | Beside], film: Film, translator: Translator, styles: FilmStyles,
    options: VideoOptions, report: FilmReport, sight: Sight,
) -> Iterator[Iterator[RgbFrame | Beside]]:  # fmt: skip
    """The stages that find the faces in frames, translate them, and put them back."""
    run, batch = _in_style(translator, styles), options.batch or translator.batch
    if options.match_colour:
        run = matching(run)
    faces = FilmFaces(
        sight, translator.size[0], film.rate, film.time_base, steady=options.steady, every=options.faces == "all"
    )
    with (
        report.ahead(find_faces(frames, faces, report), ALIGN, _FEW) as found,
        report.ahead(translate_faces(found, run, batch, report), "run", _FEW) as translated,
        report.ahead(put_faces_back(translated, report), PUT_BACK, _FEW) as translations,
    ):
        yield translations


def _in_style(translator: Translator, styles: FilmStyles) -> Translate:
    return lambda images, times: translator(images, styles.at(images, times))


def translate_frames(
    items: Iterable[RgbFrame | Beside],
    translate: Translate,
    batch: int,
    report: FilmReport,
) -> Iterator[RgbFrame | Beside]:
    """Frames translated in order, in batches of `batch`. Packets may overtake them, because the muxer sorts."""

    def run(frames: Sequence[RgbFrame]) -> Iterable[RgbFrame]:
        with report.timed("run", len(frames)):
            translations = translate(np.stack([frame.pixels for frame in frames]), [frame.pts for frame in frames])
        return (replace(frame, pixels=pixels) for frame, pixels in zip(frames, translations, strict=True))

    # results may depend on what else is in a batch, so no batch goes beyond a segment
    return batched_among(items, RgbFrame, Batches(batch, run, last=lambda frame: frame.ends_segment))
