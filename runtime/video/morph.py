"""`starcast morph`: a video along a smooth path through several styles, of one image or of a generator's.

The path is that of StarGAN v2's interpolation videos (style_path.py). The official code goes through references of one
domain and stops at the last. Here the loop closes, and any two styles may follow each other: a style is a vector,
whatever its domain. `--official` lays the video out, and ends it, as the official code does (official.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starcast.errors import ImageError, OptionError, StyleError, printable
from starcast.hold import hold
from starcast.images.fit import fit
from starcast.images.read import read_stored
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.folder.sources import find_sources
from starcast.runtime.manifest import LabelMaker
from starcast.runtime.progress import ProgressBar
from starcast.runtime.source_styles import SourceStyles
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
from starcast.runtime.video.morph_stages import rate_of, work_of_morph, write_morph
from starcast.runtime.video.official import Grid, group_by_domain
from starcast.runtime.video.options import MorphOptions
from starcast.runtime.video.output.encode import settle
from starcast.runtime.video.output.sink import check_target
from starcast.runtime.video.pipeline import Opening
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.restart.parts import discard_parts, versions
from starcast.runtime.video.restart.same_engine import engine_facts, open_same_engine
from starcast.runtime.video.statistics_file import check_statistics, tell_statistics
from starcast.runtime.video.subjects import Still, Walk
from starcast.runtime.video.timeline.keyframes import StyleKey, parse_keys
from starcast.runtime.video.timeline.morph_timeline import closed_course, frames_in, stops_along
from starcast.runtime.video.timeline.recursion import recursion_of
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

    If `target` is that film already, only its record is written, where it is missing; if a run of the same command was
    interrupted, it goes on there. Raises OptionError, StyleError,
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
    rate = rate_of(options)
    frames = frames_in(options, rate)
    course = None if frames is None else closed_course(keys, len(facts), frames, rate)
    if frames is None:
        step = options.frames_per_step
        frames = subject.length(step) if isinstance(subject, Grid) else len(facts) * step
    recursion = recursion_of(options, rate, frames / rate, 1 / rate)
    if subject is None and len(facts) == 1 and recursion is None:
        report.notes.append("The loop has one style, so every frame is the same: give more --seeds or --refs")
    record = FilmRecord(target, given, bundle, options, facts)
    with hold(target):
        if is_done(record, target, report, overwrite=options.overwrite):
            discard_parts(record)
        else:
            for note in report.notes:
                progress(note)
            film = subject or _read_still(given[0], bundle, options, progress)
            condition = bundle.manifest.condition
            beside = latent_graphs(condition) if isinstance(film, Walk) else graphs_for(requests, condition)
            open_engine = partial(
                Translator, bundle, work=work_of_morph(film, options), progress=progress, beside=beside,
                **options.engine,
            )  # fmt: skip
            with (
                open_same_engine(record, open_engine, progress, restart=options.restart) as translator,
                ProgressBar(frames, "frames", show=show_progress, progress=progress) as bar,
            ):
                film.check(translator)
                before = translator.extra_cost
                styles, has = _styles_of(film, requests, translator, bar)
                if course is None:
                    stops = film.stops(styles, options.frames_per_step)
                else:
                    stops = stops_along(course, styles, frames, rate)
                opening = Opening(
                    target, film.size, options, record.mark, metadata=True,
                    origin={**record.identity, **versions(), "engine": engine_facts(translator, options.batch)},
                    restart=options.restart, memories={} if recursion is None else {"recursion": recursion},
                )  # fmt: skip
                write_morph(film, stops, recursion, opening, translator, options, report, bar)
                report.extra = translator.extra_cost.since(before)
                record.save(translator.facts(), {"frames": report.frames}, report, progress, has)
        tell_statistics(options.statistics, report, progress)
    return report


def _styles_of(
    film: Still | Grid | Walk, requests: Sequence[StyleRequest], translator: Translator, bar: ProgressBar
) -> tuple[NDArray[np.float32], Mapping[str, Sequence[str]]]:
    """The styles, and the labels that were read of the source."""
    if isinstance(film, Walk):
        if film.is_transparent:
            bar.print(f"{translator.bundle.path} makes transparent images: the video shows them on white")
        return film.styles(translator), {}
    source_styles = SourceStyles(requests, translator, bar.print)
    path = film.paths[0] if isinstance(film, Grid) else film.path
    return source_styles.make(film.sample[0], printable(path)), source_styles.has


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
