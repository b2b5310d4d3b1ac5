"""The stages between `fit` and `encode`: the model, on whole frames or on the faces in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from starcast.runtime.engines.workload import Run
from starcast.runtime.faces.sight import Sight
from starcast.runtime.source_styles import SourceStyles
from starcast.runtime.stages import Batches, batched_among
from starcast.runtime.translator import Translator
from starcast.runtime.video.faces import ALIGN, PUT_BACK, FilmFaces, find_faces, put_faces_back, translate_faces
from starcast.runtime.video.film import Film
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.report import FilmReport

if TYPE_CHECKING:
    from starcast.runtime.video.frames import Beside

_FEW = 2  # whole frames between the stages of faces: they may be large


@contextmanager
def translating(
    frames: Iterable[RgbFrame | Beside], film: Film, translator: Translator, styles: SourceStyles,
    options: VideoOptions, report: FilmReport,
) -> Iterator[Iterator[RgbFrame | Beside]]:  # fmt: skip
    """The stage that translates whole frames."""
    run, batch = _in_one_style(translator, styles, film.name), options.batch or translator.batch
    with report.ahead(translate_frames(frames, run, batch, report), "run") as translations:
        yield translations


@contextmanager
def translating_faces(
    frames: Iterable[RgbFrame | Beside], film: Film, translator: Translator, styles: SourceStyles,
    options: VideoOptions, report: FilmReport, sight: Sight,
) -> Iterator[Iterator[RgbFrame | Beside]]:  # fmt: skip
    """The stages that find the faces in frames, translate them, and put them back."""
    run, batch = _in_one_style(translator, styles, film.name), options.batch or translator.batch
    faces = FilmFaces(
        sight, translator.size[0], film.rate, film.time_base, steady=options.steady, every=options.faces == "all"
    )
    with (
        report.ahead(find_faces(frames, faces, report), ALIGN, _FEW) as found,
        report.ahead(translate_faces(found, run, batch, report), "run", _FEW) as translated,
        report.ahead(put_faces_back(translated, report), PUT_BACK, _FEW) as translations,
    ):
        yield translations


def _in_one_style(translator: Translator, styles: SourceStyles, name: str) -> Run:
    """Translates frames in the style that the first of them asks for."""
    style: NDArray[np.float32] | None = None

    def translate(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        nonlocal style
        if style is None:
            [style] = styles.make(frames[0], name)
        return translator(frames, style)

    return translate


def translate_frames(
    items: Iterable[RgbFrame | Beside],
    translate: Run,
    batch: int,
    report: FilmReport,
) -> Iterator[RgbFrame | Beside]:
    """Frames translated in order, in batches of `batch`. Packets may overtake them, because the muxer sorts."""

    def run(frames: Sequence[RgbFrame]) -> Iterable[RgbFrame]:
        with report.timed("run", len(frames)):
            translations = translate(np.stack([frame.pixels for frame in frames]))
        return (replace(frame, pixels=pixels) for frame, pixels in zip(frames, translations, strict=True))

    # results may depend on what else is in a batch, so no batch goes beyond a segment
    return batched_among(items, RgbFrame, Batches(batch, run, last=lambda frame: frame.ends_segment))
