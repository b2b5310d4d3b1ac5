"""Translate many images: list what is missing, translate it, and record how.

An image that cannot be read is reported and left out. Complete translations from an earlier run are skipped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from starcast.errors import OptionError, printable, reason_of
from starcast.images.fit import NATIVE
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.folder.outputs import (
    State,
    is_one_file,
    output_paths,
    refuse_source_folder,
    refuse_to_overwrite_sources,
    state_of,
)
from starcast.runtime.folder.pipeline import READERS, Job, Report, translate_jobs
from starcast.runtime.folder.sources import FoundSources, SourceFile, find_sources
from starcast.runtime.options import TranslateOptions
from starcast.runtime.progress import ProgressBar
from starcast.runtime.record import (
    RECORD,
    fingerprint,
    record_beside,
    refuse_foreign_record,
    source_fingerprint,
    style_facts,
    write_record,
)
from starcast.runtime.stages import map_ahead, open_pool
from starcast.runtime.style_requests import requests_from
from starcast.runtime.styles import make_styles
from starcast.runtime.translator import Translator

NAMED_OTHERS = 10


def translate_all(
    bundle_path: Path,
    sources: Sequence[Path],
    options: TranslateOptions,
    *,
    progress: Callable[[str], None] = print,
    show_progress: bool = False,
) -> Report:
    """Translate everything that `sources` name into `options.output`, each image in every style.

    `progress` gets a line for each source that fails and each file that is skipped, as it happens. Raises OptionError
    (nothing to translate, or an unusable output), StyleError, BundleError, EngineError. Translations that are
    finished by then stay, and the next run continues from them.
    """
    bundle = open_bundle(bundle_path)
    if options.output is None:
        raise OptionError("say where the translations go: -o OUT")
    refuse_source_folder(sources, options.output)
    report = Report()
    found = find_sources(sources, leave_out=options.output if options.output.is_dir() else None)
    _report_found(found, report, progress)
    if not found.sources:
        raise OptionError(f"no images in {', '.join(map(printable, sources)) or 'the sources'}: check the path")

    requests = requests_from(options, bundle.manifest.domains, by_label=bundle.manifest.condition.by_label)
    one_file = is_one_file(options.output, len(found.sources), len(requests))
    paths = (
        [(options.output,)]
        if one_file
        else output_paths(found.sources, [request.label for request in requests], options.output, f".{options.format}")
    )
    refuse_to_overwrite_sources(found.sources, paths)

    styles = style_facts(requests)
    marks = [_mark_settings(bundle, style, options) for style in styles]
    trained = (bundle.source.height, bundle.source.width)
    size = None if options.fit == NATIVE else trained
    jobs = _list_jobs(found.sources, paths, marks, size, options, report)
    if not jobs:
        return report

    record = record_beside(options.output) if one_file else options.output / RECORD
    refuse_foreign_record(record)
    save_record = partial(write_record, record, bundle, options, styles, sources=[str(source) for source in sources])
    with (
        Translator(bundle, **options.engine, progress=progress) as translator,
        ProgressBar(sum(len(job.targets) for job in jobs), "images", show=show_progress, progress=progress) as bar,
    ):
        vectors = make_styles(requests, translator.style)
        engine = translator.facts()
        _start_record(partial(save_record, engine=engine), options.output)
        start = time.perf_counter()
        try:
            translate_jobs(jobs, marks, vectors, translator, options, report, bar)
        finally:
            report.wall_s = time.perf_counter() - start
            counts = {"translated": report.done, "there_already": report.skipped, "failed": len(report.failed)}
            save_record(engine=engine, counts=counts)
    return report


def _report_found(found: FoundSources, report: Report, progress: Callable[[str], None]) -> None:
    for problem in found.problems:
        report.fail(problem, progress)
    for other in found.others[:NAMED_OTHERS]:
        progress(f"{printable(other)} is not an image: skipped")
    if len(found.others) > NAMED_OTHERS:
        progress(f"{len(found.others) - NAMED_OTHERS} more files are not images: skipped")


def _list_jobs(
    sources: Sequence[SourceFile],
    paths: Sequence[tuple[Path, ...]],
    marks: Sequence[str],
    size: tuple[int, int] | None,
    options: TranslateOptions,
    report: Report,
) -> list[Job]:
    """The translations to make. Raises OptionError if a whole image of another origin is in the way."""
    if options.overwrite:
        return [Job(source, tuple(enumerate(group))) for source, group in zip(sources, paths, strict=True)]

    def states(pair: tuple[SourceFile, tuple[Path, ...]]) -> list[State]:
        source, group = pair
        content = _fingerprint_of(source.path)
        return [state_of(path, f"{mark}{content}", size) for mark, path in zip(marks, group, strict=True)]

    jobs: list[Job] = []
    in_the_way: list[Path] = []
    with open_pool(READERS) as workers:
        pairs = list(zip(sources, paths, strict=True))
        for (source, group), group_states in zip(pairs, map_ahead(workers, states, pairs, ahead=64), strict=True):
            report.skipped += group_states.count(State.DONE)
            in_the_way += [path for path, state in zip(group, group_states, strict=True) if state is State.OTHER]
            wanted = (State.ABSENT, State.DAMAGED)
            targets = tuple(
                (number, path)
                for number, (path, state) in enumerate(zip(group, group_states, strict=True))
                if state in wanted
            )
            if targets:
                jobs.append(Job(source, targets))
    if in_the_way:
        count = f"{len(in_the_way)} existing images have" if len(in_the_way) > 1 else "an existing image has"
        raise OptionError(
            f"{printable(in_the_way[0])}: {count} another origin (source, bundle, style or options): "
            "choose another -o, or give --overwrite"
        )
    return jobs


def _mark_settings(bundle: Bundle, style: Mapping[str, Any], options: TranslateOptions) -> str:
    """The settings' part of a mark: equal for two runs whose translations of a source may replace each other. It
    leaves out the engine, because engines agree within a grey level, and the paths of references and bundle."""
    facts = {key: value for key, value in style.items() if key not in ("label", "reference")}
    settings = {"bundle": bundle.sha256, "style": facts, "fit": options.fit, "precision": options.precision}
    return f"starcast settings={fingerprint(settings)}"


def _fingerprint_of(source: Path) -> str:
    """The source's part of a mark; if the source cannot be read, a text that no translation carries."""
    try:
        return f" source={source_fingerprint(source)}" if source.is_file() else " unreadable"
    except OSError:
        return " unreadable"


def _start_record(write: Callable[[], None], output: Path) -> None:
    """Write the record before the first image, so that a killed run leaves one too."""
    try:
        write()
    except OSError as error:
        raise OptionError(
            f"{printable(output)} cannot be written to ({reason_of(error)}): choose another -o"
        ) from error
