"""`starcast morph`: a video along a smooth path through several styles, of one image or of a generator's.

The path is that of StarGAN v2's interpolation videos (style_path.py). The official code goes through references of one
domain and stops at the last. Here the loop closes, and any two styles may follow each other: a style is a vector,
whatever its domain. `--official` lays the video out, and ends it, as the official code does (official.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starcast.errors import ImageError, OptionError, StyleError, printable
from starcast.hold import hold
from starcast.images.fit import fit
from starcast.images.read import read_stored
from starcast.images.white import on_white
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.engines.workload import Run, Work
from starcast.runtime.folder.sources import find_sources
from starcast.runtime.manifest import LabelMaker
from starcast.runtime.progress import ProgressBar
from starcast.runtime.source_styles import SourceStyles
from starcast.runtime.stages import Batches, run_ahead
from starcast.runtime.style_requests import (
    StyleRequest,
    graphs_for,
    latent_graphs,
    refuse_labels,
    refuse_styles,
    requests_of_labels,
)
from starcast.runtime.styles import readable_requests
from starcast.runtime.translator import Translator
from starcast.runtime.video.film_record import FilmRecord, is_done
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.official import SLOWNESS, Grid, group_by_domain
from starcast.runtime.video.options import MorphOptions
from starcast.runtime.video.output.encode import DroppedFilm, settle
from starcast.runtime.video.output.image_sequence_output import output_path
from starcast.runtime.video.output.outputs import open_sink
from starcast.runtime.video.output.sink import check_target
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.statistics_file import check_statistics, tell_statistics
from starcast.runtime.video.subjects import Still, Subject, Walk
from starcast.runtime.video.timeline.keyframes import StyleKey, parse_keys
from starcast.runtime.video.timeline.morph_timeline import closed_course, frames_in, stops_along, translate_recursively
from starcast.runtime.video.timeline.recursion import Recursion, recursion_of
from starcast.runtime.video.timeline.style_path import Stop
from starcast.runtime.video.timeline.style_plan import StylePlan, requests_of_keys, requests_of_lists

_NO_STYLE = np.empty(0, np.float32)


def morph(
    bundle_path: Path,
    sources: Path | Sequence[Path] | None,
    target: Path,
    options: MorphOptions,
    *,
    progress: Callable[[str], None] = print,
    show_progress: bool = False,
) -> FilmReport:
    """Write a video that goes through the styles in `options`: of the image `sources`, or, without one, of generated
    images. With `options.official`, it shows several sources: images, folders, patterns or lists.

    If `target` is that film already, only its record is written, where it is missing. Raises OptionError, StyleError,
    BundleError, ImageError, EngineError, VideoError; then nothing is written.
    """
    given = [sources] if isinstance(sources, Path) else list(sources or ())
    for source in given:
        check_target(target, source)
    if not given:
        check_target(target, None)
    options = settle(options, target)
    for taken in [*given, None]:
        check_statistics(options.statistics, target, taken)
    bundle = open_bundle(bundle_path)
    report = FilmReport(target, dict.fromkeys(("run", "encode"), 0.0))

    def fail(sentence: str) -> None:
        report.failed.append(sentence)
        progress(sentence)

    _check_sources(bundle, given, options)
    subject: Still | Grid | Walk | None = None if given else Walk(bundle, options)
    requests: list[StyleRequest] = []
    keys: tuple[StyleKey, ...] = ()
    if isinstance(subject, Walk):
        facts = subject.facts
    else:
        labels = bundle.manifest.condition.only_labels
        if options.style_keys is not None:
            keys = parse_keys(options.style_keys)
            requests = list(requests_of_keys(keys, options, bundle.manifest, progress))
        else:
            requests = readable_requests(requests_for(options, bundle.manifest.domains, progress, labels=labels), fail)
        if options.official:
            subject = _read_grid(given, requests, target, bundle, options, fail, progress)
            given = list(subject.paths)
        facts = StylePlan(tuple(requests), keys).facts
    rate = _rate(options)
    frames = frames_in(options, rate)
    course = None if frames is None else closed_course(keys, len(facts), frames, rate)
    steps_frames = len(facts) * options.frames_per_step
    recursion = recursion_of(options, rate, (frames or steps_frames) / rate, 1 / rate)
    record = FilmRecord(target, given, bundle, options, facts)
    with hold(target):
        if not is_done(record, target, report, overwrite=options.overwrite):
            for note in report.notes:
                progress(note)
            film = subject or _read_still(given[0], bundle, options, progress)
            condition = bundle.manifest.condition
            beside = latent_graphs(condition) if isinstance(film, Walk) else graphs_for(requests, condition)
            with (
                Translator(
                    bundle, **options.engine, work=_work(film, options), progress=progress, beside=beside
                ) as translator,
                ProgressBar(
                    film.length(options.frames_per_step) if isinstance(film, Grid) else frames or steps_frames,
                    "frames",
                    show=show_progress,
                    progress=progress,
                ) as bar,
            ):
                film.check(translator)
                has: Mapping[str, Sequence[str]] = {}
                if isinstance(film, Walk):
                    styles = film.styles(translator)
                    if film.is_transparent:
                        bar.print(f"{bundle.path} makes transparent images: the video shows them on white")
                else:
                    source_styles = SourceStyles(requests, translator, bar.print)
                    styles = source_styles.make(film.sample[0], printable(given[0]))
                    has = source_styles.has
                before = translator.extra_cost
                if frames is None or course is None:
                    stops = film.stops(styles, options.frames_per_step)
                else:
                    stops = stops_along(course, styles, frames, rate)
                _write(film, stops, recursion, target, translator, options, record.mark, report, bar)
                report.extra = translator.extra_cost.since(before)
                record.save(translator.facts(), {"frames": report.frames}, report, progress, has)
        tell_statistics(options.statistics, report, progress)
    return report


def _check_sources(bundle: Bundle, sources: Sequence[Path], options: MorphOptions) -> None:
    """Raise OptionError if a source is missing, given where there is none, or one of several that cannot be shown."""
    if not sources and bundle.manifest.source is not None:
        raise OptionError(f"{bundle.path} translates an image: give one after the bundle")
    if sources and bundle.manifest.source is None:
        raise OptionError(
            f"{bundle.path} makes images from styles alone: leave out {printable(sources[0])}, and give --seeds"
        )
    if len(sources) > 1 and not options.official:
        raise OptionError(
            f"the loop shows one image, and {len(sources)} are given: leave out all but one, or add --official, which "
            "shows several side by side"
        )
    if options.official and bundle.manifest.condition.only_labels is not None:
        raise OptionError(
            f"--official goes through references or seeds, and {bundle.path} is steered by labels: leave out --official"
        )


def _read_still(source: Path, bundle: Bundle, options: MorphOptions, progress: Callable[[str], None]) -> Still:
    """The image to translate, fitted. Raises ImageError."""
    return Still(_read_fitted(source, bundle, options, progress), source)


def _read_grid(
    given: Sequence[Path],
    requests: list[StyleRequest],
    target: Path,
    bundle: Bundle,
    options: MorphOptions,
    fail: Callable[[str], None],
    progress: Callable[[str], None],
) -> Grid:
    """The images that `given` names, fitted, and the requests, which this puts in order. Raises OptionError, and
    ImageError if no image can be read."""
    found = find_sources(given)
    for problem in found.problems:
        fail(problem)
    for line in found.left_out():
        progress(line)
    images, paths, errors = [], [], []
    for source in found.sources:
        check_target(target, source.path)
        try:
            images.append(_read_fitted(source.path, bundle, options, progress))
            paths.append(source.path)
        except ImageError as error:
            errors.append(error)
    if not images:
        raise errors[0] if errors else OptionError(found.nothing_in(given))
    for unreadable in errors:
        fail(f"{unreadable}; the other images are shown")
    ordered = group_by_domain(requests)
    if ordered != requests:
        domains = dict.fromkeys(str(request.domain) for request in ordered)
        progress(f"The video shows one domain after the other: {', '.join(domains)}")
        requests[:] = ordered
    return Grid(np.stack(images), paths, requests)


def _read_fitted(
    source: Path, bundle: Bundle, options: MorphOptions, progress: Callable[[str], None]
) -> NDArray[np.uint8]:
    stored = read_stored(source)
    for note in stored.notes:
        progress(f"{printable(source)} {note}")
    return fit(stored.pixels, bundle.manifest.trained_size, options.fit)


def _rate(options: MorphOptions) -> Fraction:
    """Frames per second."""
    return options.rate / SLOWNESS if options.official else options.rate


def _write(
    subject: Subject,
    stops: Iterable[Stop],
    recursion: Recursion | None,
    target: Path,
    translator: Translator,
    options: MorphOptions,
    mark: str,
    report: FilmReport,
    bar: ProgressBar,
) -> None:
    rate = _rate(options)
    if recursion is not None and isinstance(subject, Still):
        made = translate_recursively(subject, stops, translator, recursion, report)
    else:
        made = _translate_stops(subject, stops, translator, options.batch or translator.batch, report)
    with (
        report.measured(),
        output_path(target) as partial,
        open_sink(partial, printable(target), subject.size, rate, 1 / rate, options, mark=mark) as sink,
        report.ahead(made, "run") as translations,
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


def _work(subject: Subject, options: MorphOptions) -> Work:
    """The stages of `_write`, for measuring engines among them. What is encoded is dropped."""
    rate = _rate(options)

    def translate(run: Run, batch: int) -> Iterator[NDArray[np.uint8]]:
        runs = (on_white(run(np.repeat(subject.sample, batch, axis=0))) for _ in itertools.count())
        images = itertools.chain.from_iterable(runs)
        while True:
            yield subject.frame(np.stack(list(itertools.islice(images, subject.count))), Stop(_NO_STYLE, 1))

    def rehearse(run: Run, batch: int) -> Generator[None]:
        with (
            DroppedFilm(subject.size, rate, 1 / rate, options) as film,
            run_ahead(translate(run, batch), "run") as translations,
        ):
            for number, pixels in enumerate(translations):
                film.write(pixels, number, 1)
                yield

    return Work("morph", rehearse, options.batch if options.recursion is None else 1)


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
    return requests_of_lists(options.refs, options.chosen_seeds, options.domain, options.psi, domains, progress)


def _translate_stops(
    subject: Subject, stops: Iterable[Stop], translator: Translator, batch: int, report: FilmReport
) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """(frame, number of times that it is shown) for each stop. Images are made in batches of `batch`."""

    def run(stops: Sequence[Stop]) -> Iterable[tuple[NDArray[np.uint8], int]]:
        with report.timed("run", len(stops)):
            images = subject.images(translator, np.stack([stop.style for stop in stops]), batch)
            parts = np.split(images, len(stops))
            return [(subject.frame(part, stop), stop.frames) for part, stop in zip(parts, stops, strict=True)]

    batches = Batches(max(1, batch // subject.count), run)
    for stop in stops:
        yield from batches.add(stop)
    yield from batches.finish()
