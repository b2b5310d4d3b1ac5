"""The stages of `video` on a film's first frames, for measuring engines among them. What is encoded is dropped."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from starcast.images.fit import NATIVE
from starcast.runtime.engines.workload import Run, Work
from starcast.runtime.manifest import Manifest
from starcast.runtime.stages import run_ahead
from starcast.runtime.video.compose import COMPOSE, compose_frames, composer_for
from starcast.runtime.video.fitting import fit_frames
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.geometry import Geometry, geometry_of
from starcast.runtime.video.input.film import Film
from starcast.runtime.video.input.view import open_view
from starcast.runtime.video.model_stages import translate_frames
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.output.encode import DroppedFilm
from starcast.runtime.video.report import FilmReport

STAGES = ("decode", "fit", "run", "encode")


def work_of(source_path: Path, manifest: Manifest, options: VideoOptions) -> Work:
    """The work that a film is for an engine."""
    size = (manifest.source.height, manifest.source.width) if manifest.source is not None else (0, 0)

    def rehearse(run: Run, batch: int) -> Generator[None]:
        report = FilmReport(source_path, dict.fromkeys((*STAGES, COMPOSE), 0.0))
        with open_view(source_path, options) as source:
            geometry = geometry_of(options, source, size)
            if geometry.mode == NATIVE:  # engines are measured at the model's own size
                geometry = replace(geometry, size=size, mode="crop")
            yield from rehearse_film(source, geometry, run, batch, report)

    def rehearse_film(source: Film, geometry: Geometry, run: Run, batch: int, report: FilmReport) -> Generator[None]:
        composer = composer_for(options)
        with (
            DroppedFilm(options.output_size(geometry.output), source.rate, source.time_base, options) as film,
            run_ahead(source.read(set()), "decode", yields=True) as frames,
            run_ahead(fit_frames(frames, source, geometry, report), "fit", yields=True) as ready,
            run_ahead(translate_frames(ready, lambda images, _: run(images), batch, report), "run") as translations,
            run_ahead(compose_frames(translations, composer, report), COMPOSE, yields=True) as composed,
        ):
            for item in composed:
                if isinstance(item, RgbFrame):
                    film.write(item.pixels, item.pts, item.duration)
                    yield

    def rehearse_drawn(run: Run, batch: int) -> Generator[None]:
        report = FilmReport(source_path, dict.fromkeys((*STAGES, COMPOSE), 0.0))
        with (
            DroppedFilm(size, Fraction(25), Fraction(1, 25), options) as film,
            run_ahead(_draw_frames(size), "fit") as ready,
            run_ahead(translate_frames(ready, lambda images, _: run(images), batch, report), "run") as translations,
        ):
            for item in translations:
                if isinstance(item, RgbFrame):
                    film.write(item.pixels, item.pts, item.duration)
                    yield

    # what comes through a pipe can be read only once
    return Work(
        "video",
        rehearse if source_path.is_file() else rehearse_drawn,
        options.batch if options.recursion is None else 1,
    )


def _draw_frames(size: tuple[int, int]) -> Iterator[RgbFrame]:
    """A film without end."""
    random = np.random.default_rng(0)
    for number in itertools.count():
        yield RgbFrame(random.integers(0, 256, (*size, 3), np.uint8), number, 1)
