"""Translate many pictures: what there is to do, what is done already, and the record of it.

One picture that cannot be read is reported and left out; what is there and whole from an earlier start is not made
again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from starcast.errors import OptionError
from starcast.images.fit import NATIVE
from starcast.paths import printable
from starcast.runtime.bundle import Bundle, open_bundle, sha256_of
from starcast.runtime.folder.options import TranslateOptions
from starcast.runtime.folder.outputs import (
    State,
    is_one_file,
    output_paths,
    refuse_source_folder,
    refuse_to_overwrite_sources,
    state_of,
)
from starcast.runtime.folder.pipeline import READERS, Job, translate_jobs
from starcast.runtime.folder.report import Report
from starcast.runtime.folder.sources import SourceFile, find_sources
from starcast.runtime.folder.threads import mapped, pool
from starcast.runtime.progress import ProgressBar
from starcast.runtime.record import RECORD, fingerprint, record_beside, source_fingerprint, write_record
from starcast.runtime.style_requests import StyleRequest, requests_from
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
    """Translate everything that `sources` name into `options.output`, every style of each.

    `say` gets a line for each source that fails and each file that is left alone, as they occur. Raises OptionError
    (nothing to translate, or an output that cannot be), StyleError, BundleError, EngineError; what was translated
    before stays, and the next start goes on from there.
    """
    bundle = open_bundle(bundle_path)
    if options.output is None:
        raise OptionError("say where the translations go: -o OUT")
    refuse_source_folder(sources, options.output)
    found = find_sources(sources, leave_out=options.output if options.output.is_dir() else None)
    report = Report()
    for problem in found.problems:
        report.fail(problem, progress)
    for other in found.others[:NAMED_OTHERS]:
        progress(f"{printable(other)} is not a picture: left alone")
    if len(found.others) > NAMED_OTHERS:
        progress(f"{len(found.others) - NAMED_OTHERS} more files are not pictures: left alone")
    if not found.sources:
        raise OptionError(f"no pictures in {', '.join(map(printable, sources)) or 'the sources'}: check the path")

    requests = requests_from(options, bundle.manifest.domains, by_label=bundle.manifest.condition.by_label)
    one_file = is_one_file(options.output, len(found.sources), len(requests))
    paths = (
        [(options.output,)]
        if one_file
        else output_paths(found.sources, [request.label for request in requests], options.output, f".{options.format}")
    )
    refuse_to_overwrite_sources(found.sources, paths)

    styles = [style_facts(request) for request in requests]
    marks = [_settings_mark(bundle, style, options) for style in styles]
    trained = (bundle.source.height, bundle.source.width)
    size = None if options.fit == NATIVE else trained
    jobs = _jobs(found.sources, paths, marks, size, options, report)
    if not jobs:
        return report

    path = record_beside(options.output) if one_file else options.output / RECORD
    save_record = partial(write_record, path, bundle, options, styles, sources=[str(source) for source in sources])
    with (
        Translator(bundle, **options.engine, progress=progress) as translator,
        ProgressBar(sum(len(job.targets) for job in jobs), "images", show=show_progress, progress=progress) as bar,
    ):
        vectors = np.stack([translator.style(**request.arguments) for request in requests])
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


def _jobs(
    sources: Sequence[SourceFile],
    paths: Sequence[tuple[Path, ...]],
    marks: Sequence[str],
    size: tuple[int, int] | None,
    options: TranslateOptions,
    report: Report,
) -> list[Job]:
    """What is to be made. Raises OptionError where a whole picture of another origin is in the way."""
    if options.overwrite:
        return [Job(source, tuple(enumerate(group))) for source, group in zip(sources, paths, strict=True)]

    def states(pair: tuple[SourceFile, tuple[Path, ...]]) -> list[State]:
        source, group = pair
        return [state_of(path, _mark(mark, source.path), size) for mark, path in zip(marks, group, strict=True)]

    jobs: list[Job] = []
    in_the_way: list[Path] = []
    with pool(READERS) as workers:
        pairs = list(zip(sources, paths, strict=True))
        for (source, group), group_states in zip(pairs, mapped(workers, states, pairs, ahead=64), strict=True):
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
        count = f"{len(in_the_way)} pictures" if len(in_the_way) > 1 else "a picture"
        raise OptionError(
            f"{printable(in_the_way[0])}: {count} there with another origin (source, bundle, style or options): "
            "give another -o, or --overwrite"
        )
    return jobs


def style_facts(request: StyleRequest) -> dict[str, Any]:
    """What the record says of a style: enough to make it again."""
    facts: dict[str, Any] = {"label": request.label, "domain": request.domain, "psi": request.psi}
    if request.reference is not None:
        return {**facts, "reference": str(request.reference), "sha256": _sha256(request.reference)}
    return {**facts, "seed": request.seed}


def _sha256(path: Path) -> str | None:
    try:
        return sha256_of(path) if path.is_file() else None
    except OSError:  # the translator will say why it cannot be read
        return None


def _settings_mark(bundle: Bundle, style: Mapping[str, Any], options: TranslateOptions) -> str:
    """Equal for two starts that give the same bytes for a source. The engine is not in it: engines agree within a
    grey level; nor are a reference's and a bundle's places."""
    facts = {key: value for key, value in style.items() if key not in ("label", "reference")}
    settings = {"bundle": bundle.sha256, "style": facts, "fit": options.fit, "precision": options.precision}
    return f"starcast settings={fingerprint(settings)}"


def _mark(settings: str, source: Path) -> str:
    try:
        return f"{settings} source={source_fingerprint(source)}" if source.is_file() else ""
    except OSError:
        return ""


def _start_record(write: Callable[[], None], output: Path) -> None:
    """The record is there before the first picture, so that a killed start has one too."""
    try:
        write()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OptionError(f"{printable(output)} cannot be written to ({reason}): give another -o") from error
