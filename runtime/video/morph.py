"""`starcast morph`: a video along a smooth closed loop through several styles, of one image or of a generator's.

The path is that of StarGAN v2's interpolation videos: straight lines between style vectors with a sigmoid that eases in
and out, and a rest at each style. The official code goes through references of one domain and stops at the last. Here
the loop closes, and any two styles may follow each other: a style is a vector, whatever its domain.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starcast.atomic import atomic_path
from starcast.comma_lists import rejoin
from starcast.errors import OptionError, StyleError, printable
from starcast.hold import hold
from starcast.images.fit import fit
from starcast.images.read import read_stored
from starcast.images.white import on_white
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.engines.workload import Run, Work
from starcast.runtime.manifest import LabelMaker
from starcast.runtime.progress import ProgressBar
from starcast.runtime.record import style_facts
from starcast.runtime.source_styles import SourceStyles
from starcast.runtime.stages import Batches, run_ahead
from starcast.runtime.style_requests import (
    StyleRequest,
    graphs_for,
    latent_graphs,
    refuse_labels,
    refuse_styles,
    requests_of_labels,
    requests_of_reference,
    requests_of_seed,
)
from starcast.runtime.styles import readable_requests
from starcast.runtime.translator import Translator
from starcast.runtime.video.encode import DroppedFilm
from starcast.runtime.video.film_record import FilmRecord, is_done
from starcast.runtime.video.options import MorphOptions
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.sink import RgbFrame, Sink, check_target
from starcast.runtime.video.subjects import Still, Subject, Walk

_OFFICIAL_FRAMES, _OFFICIAL_REST = 31, 10
_SIGMOID_FROM, _SIGMOID_TO = -5.0, 4.5


@dataclass(frozen=True)
class Stop:
    """A style vector on the path, and the number of frames that show it."""

    style: NDArray[np.float32]
    frames: int


def alphas(frames: int) -> NDArray[np.float64]:
    """How far each of `frames` frames has gone from one style to the next: 0, a sigmoid's rise, 1 at rest.

    31 frames have the alphas of StarGAN v2's videos: 0, sigmoid(-5), sigmoid(-4.5), …, sigmoid(4.5), then 1 ten times.
    """
    rest = max(1, round(frames * _OFFICIAL_REST / _OFFICIAL_FRAMES))
    rise = 1 / (1 + np.exp(-np.linspace(_SIGMOID_FROM, _SIGMOID_TO, frames - 1 - rest)))
    return np.concatenate([[0.0], rise, np.ones(rest)])


def loop(styles: NDArray[np.float32], frames_per_step: int) -> Iterator[Stop]:
    """The stops of a closed loop through `styles` [N, S] or [N, layers, S], N * frames_per_step frames long; a single
    style stands still.

    Consecutive frames with the same style are one stop, so that they are translated once.
    """
    stop: Stop | None = None
    for here, there in zip(styles, np.roll(styles, -1, axis=0), strict=True):
        for alpha in alphas(frames_per_step):
            # written like this, alphas 0 and 1 give exactly the two styles
            style = (here * (1 - alpha) + there * alpha).astype(np.float32)
            if stop is not None and np.array_equal(stop.style, style):
                stop = Stop(stop.style, stop.frames + 1)
                continue
            if stop is not None:
                yield stop
            stop = Stop(style, 1)
    if stop is not None:
        yield stop


def morph(
    bundle_path: Path,
    source: Path | None,
    target: Path,
    options: MorphOptions,
    *,
    progress: Callable[[str], None] = print,
    show_progress: bool = False,
) -> FilmReport:
    """Write a video that loops through the styles in `options`: of the image `source`, or, without one, of generated
    images.

    If `target` is that film already, only its record is written, where it is missing. Raises OptionError, StyleError,
    BundleError, ImageError, EngineError, VideoError; then nothing is written.
    """
    check_target(target, source)
    bundle = open_bundle(bundle_path)
    report = FilmReport(target, dict.fromkeys(("run", "encode"), 0.0))

    def fail(sentence: str) -> None:
        report.failed.append(sentence)
        progress(sentence)

    _check_source(bundle, source)
    walk = None if source is not None else Walk(bundle, options)
    labels = bundle.manifest.condition.only_labels
    requests = (
        []
        if walk is not None
        else readable_requests(requests_for(options, bundle.manifest.domains, progress, labels=labels), fail)
    )
    facts = style_facts(requests) if walk is None else walk.facts
    record = FilmRecord(target, source, bundle, options, facts)
    with hold(target):
        if not is_done(record, target, report, overwrite=options.overwrite):
            subject = walk or _read_still(source, bundle, options, progress)
            condition = bundle.manifest.condition
            beside = graphs_for(requests, condition) if walk is None else latent_graphs(condition)
            with (
                Translator(
                    bundle, **options.engine, work=_work(subject, options), progress=progress, beside=beside
                ) as translator,
                ProgressBar(
                    len(facts) * options.frames_per_step, "frames", show=show_progress, progress=progress
                ) as bar,
            ):
                subject.check(translator)
                has: Mapping[str, Sequence[str]] = {}
                if isinstance(subject, Walk):
                    styles = subject.styles(translator)
                    if subject.is_transparent:
                        bar.print(f"{bundle.path} makes transparent images: the video shows them on white")
                else:
                    source_styles = SourceStyles(requests, translator, bar.print)
                    styles = source_styles.make(subject.sample[0], printable(subject.path))
                    has = source_styles.has
                before = translator.extra_cost
                _write(subject, styles, target, translator, options, record.mark, report, bar)
                report.extra = translator.extra_cost.since(before)
                record.save(translator.facts(), {"frames": report.frames}, report, progress, has)
    return report


def _check_source(bundle: Bundle, source: Path | None) -> None:
    """Raise OptionError if a source is missing, or given where there is none."""
    if source is None and bundle.manifest.source is not None:
        raise OptionError(f"{bundle.path} translates an image: give one after the bundle")
    if source is not None and bundle.manifest.source is None:
        raise OptionError(
            f"{bundle.path} makes images from styles alone: leave out {printable(source)}, and give --seeds"
        )


def _read_still(source: Path | None, bundle: Bundle, options: MorphOptions, progress: Callable[[str], None]) -> Still:
    """The image to translate, fitted. Raises ImageError."""
    assert source is not None  # `_check_source` refuses that
    stored = read_stored(source)
    for note in stored.notes:
        progress(f"{printable(source)} {note}")
    return Still(fit(stored.pixels, bundle.manifest.trained_size, options.fit), source)


def _write(
    subject: Subject,
    styles: NDArray[np.float32],
    target: Path,
    translator: Translator,
    options: MorphOptions,
    mark: str,
    report: FilmReport,
    bar: ProgressBar,
) -> None:
    rate = Fraction(options.fps).limit_denominator(1001)
    stops, batch = loop(styles, options.frames_per_step), options.batch or translator.batch
    start = time.perf_counter()
    with (
        atomic_path(target) as partial,
        Sink(partial, printable(target), subject.size, rate, 1 / rate, options, mark=mark) as sink,
        run_ahead(_translate_stops(subject, stops, translator, batch, report), "run") as translations,
    ):
        report.notes = sink.notes
        for note in report.notes:
            bar.print(note)
        for pixels, frames in translations:
            for _ in range(frames):
                with report.timed("encode"):
                    sink.write(RgbFrame(pixels, report.frames, 1))
                report.frames += 1
                bar.advance()
    report.wall_s = time.perf_counter() - start


def _work(subject: Subject, options: MorphOptions) -> Work:
    """The stages of `_write`, for measuring engines among them. What is encoded is dropped."""
    rate = Fraction(options.fps).limit_denominator(1001)

    def translate(run: Run, batch: int) -> Iterator[NDArray[np.uint8]]:
        while True:
            yield from on_white(run(np.repeat(subject.sample, batch, axis=0)))

    def rehearse(run: Run, batch: int) -> Generator[None]:
        with (
            DroppedFilm(subject.size, rate, 1 / rate, options) as film,
            run_ahead(translate(run, batch), "run") as translations,
        ):
            for number, pixels in enumerate(translations):
                film.write(pixels, number, 1)
                yield

    return Work("morph", rehearse, options.batch)


def requests_for(
    options: MorphOptions,
    domains: tuple[str, ...],
    progress: Callable[[str], None] = lambda line: None,
    *,
    labels: LabelMaker | None = None,
) -> list[StyleRequest]:
    """The styles of the loop, in order: all domains of the first seed, then of the second, …

    For a bundle steered by `labels`: the source's own labels, then each requested change.
    """
    if labels is not None:
        given = {"--seeds": bool(options.seeds), "--refs": bool(options.refs), "--psi": options.psi != 1}
        refuse_styles(given, labels)
        return requests_of_labels(options, options.domain, labels, as_it_is=True)
    refuse_labels(options)
    if not options.seeds and not options.refs:
        raise StyleError("give either --refs or --seeds: the styles that the loop goes through")
    if options.seeds:
        groups = [requests_of_seed(seed, options.domain, domains, psi=options.psi) for seed in options.chosen_seeds]
    else:
        groups = [
            requests_of_reference(Path(ref), options.domain, domains, psi=options.psi, progress=progress)
            for ref in rejoin(options.refs, os.path.exists)
        ]
    return [request for group in groups for request in group]


def _translate_stops(
    subject: Subject, stops: Iterable[Stop], translator: Translator, batch: int, report: FilmReport
) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """(translation, number of frames) for each stop, translated in batches of `batch`."""

    def run(stops: Sequence[Stop]) -> Iterable[tuple[NDArray[np.uint8], int]]:
        with report.timed("run"):
            frames = subject.frames(translator, np.stack([stop.style for stop in stops]))
        return zip(frames, [stop.frames for stop in stops], strict=True)

    batches = Batches(batch, run)
    for stop in stops:
        yield from batches.add(stop)
    yield from batches.finish()
