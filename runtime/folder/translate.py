"""Translate many images: list what is missing, translate it, and record how.

An image that cannot be read is reported and left out. Complete translations from an earlier run are skipped. So are,
with --overwrite, those that an interrupted run of the same command has made: it continues where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from starcast.errors import OptionError, printable
from starcast.hold import hold, hold_folder
from starcast.images.fit import NATIVE
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.faces.align_flag import align_references, open_faces
from starcast.runtime.folder.first_images import work_of
from starcast.runtime.folder.jobs import DIFFERING, DIFFERING_FACES, plan_jobs, tell_edited
from starcast.runtime.folder.names import output_paths
from starcast.runtime.folder.outputs import (
    is_one_file,
    refuse_source_folder,
    refuse_to_overwrite_sources,
    refuse_unused_options,
)
from starcast.runtime.folder.pipeline import FACE, Report, translate_jobs
from starcast.runtime.folder.recorded import recorded
from starcast.runtime.folder.sheet import check_sheet, write_sheets
from starcast.runtime.folder.sources import SourceFile, find_sources
from starcast.runtime.options import TranslateOptions
from starcast.runtime.progress import ProgressBar
from starcast.runtime.record import (
    RECORD,
    fingerprint,
    interrupted_since,
    record_beside,
    refuse_foreign_record,
    run_facts,
    style_facts,
    style_identity,
    write_record,
)
from starcast.runtime.source_styles import SourceStyles
from starcast.runtime.style_requests import StyleRequest, graphs_for, requests_from
from starcast.runtime.styles import readable_requests
from starcast.runtime.translator import Translator

if TYPE_CHECKING:
    from starcast.runtime.faces.opening import FaceFiles


class Work(msgspec.Struct, frozen=True):
    """What is translated, and where to. `given`: the sources' paths; `named`: as they were given. `paths`: one per
    source and style. `faces` finds them, with --align."""

    bundle: Bundle
    given: Sequence[Path]
    named: list[str]
    sources: Sequence[SourceFile]
    requests: Sequence[StyleRequest]
    paths: Sequence[tuple[Path, ...]]
    record: Path
    faces: FaceFiles | None


def translate_all(
    bundle_path: Path,
    sources: Sequence[Path],
    options: TranslateOptions,
    *,
    named: Sequence[str] | None = None,
    progress: Callable[[str], None] = print,
    show_progress: bool = False,
) -> Report:
    """Translate everything that `sources` name into `options.output`, each image in every style.

    `named`: the sources as the record names them; default: their paths. `progress` gets a line for each source that
    fails and each file that is skipped, as it happens. Raises OptionError (nothing to translate, an unusable output),
    StyleError, BundleError, EngineError. Translations that are finished by then stay, and the next run continues from
    them.
    """
    bundle = open_bundle(bundle_path)
    bundle.check_source()
    if options.output is None:
        raise OptionError("say where the translations go: -o OUT")
    refuse_source_folder(sources, options.output)
    report = Report()
    found = find_sources(sources, leave_out=options.output if options.output.is_dir() else None)
    for problem in found.problems:
        report.fail(problem, progress)
    for line in found.left_out():
        progress(line)
    if not found.sources:
        raise OptionError(found.nothing_in(sources))

    requests = requests_from(
        options, bundle.manifest.domains, labels=bundle.manifest.condition.only_labels, progress=progress
    )
    one_file = is_one_file(options.output, len(found.sources), len(requests))
    requests = readable_requests(requests, partial(report.fail, progress=progress))
    paths = (
        [(options.output,)]
        if one_file
        else output_paths(found.sources, [request.label for request in requests], options.output, f".{options.format}")
    )
    references = {request.reference for request in requests if request.reference is not None}
    refuse_to_overwrite_sources(found.sources, paths, references)
    if options.sheet is not None:
        check_sheet(options.sheet, found.sources, overwrite=options.overwrite)
    refuse_unused_options(options, options.output.suffix if one_file else f".{options.format}")
    record = record_beside(options.output) if one_file else options.output / RECORD
    names = list(named or map(str, sources))
    with open_faces(options, bundle) as faces, hold(options.output) if one_file else hold_folder(options.output):
        work = Work(bundle, sources, names, found.sources, requests, paths, record, faces)
        _translate_missing(work, options, report, progress, show_progress)
    if options.sheet is not None:
        size = bundle.source.height, bundle.source.width
        mode = "pad" if options.align else options.fit
        with hold(options.sheet):
            write_sheets(
                options.sheet, found.sources, requests, paths, size, mode, overwrite=options.overwrite,
                progress=progress,
            )  # fmt: skip
    return report


def _translate_missing(
    work: Work, options: TranslateOptions, report: Report, progress: Callable[[str], None], show_progress: bool
) -> None:
    """Make the missing translations, and write their record."""
    bundle, record = work.bundle, work.record
    refuse_foreign_record(record)
    styles = style_facts(work.requests)
    faces = None if work.faces is None else work.faces.facts
    since_ns = None
    if options.overwrite:
        since_ns = interrupted_since(record, run_facts(bundle, options, styles, work.named, faces))
    settings = [_mark_settings(bundle, style, options, faces) for style in styles]
    trained = bundle.source.height, bundle.source.width
    size = None if options.fit == NATIVE or options.align else trained
    plan = plan_jobs(
        work.sources, work.paths, settings, size, overwrite=options.overwrite, since_ns=since_ns,
        differing=DIFFERING if faces is None else DIFFERING_FACES,
    )  # fmt: skip
    report.take_plan(plan.done, plan.failed, progress)
    tell_edited(plan.edited, "translation", "translated", progress)
    if not plan.jobs:
        return

    count = sum(len(job.targets) for job in plan.jobs)
    with (
        Translator(
            bundle,
            **options.engine,
            work=work_of(plan.jobs, trained, options),
            progress=progress,
            beside=graphs_for(work.requests, bundle.manifest.condition),
        ) as translator,
        ProgressBar(count, "images", show=show_progress, progress=progress) as bar,
    ):
        side = translator.size[0]
        sight = None if work.faces is None else work.faces.sight(side, translator=translator)
        source_styles = SourceStyles(work.requests, translator, bar.print, align_references(sight, side, bar.print))
        save = partial(
            write_record, record, bundle, options, styles, engine=translator.facts(), sources=work.named, faces=faces
        )
        before = translator.extra_cost
        with recorded(
            record, save, report, "translated", progress, since_ns=since_ns,
            at_end=lambda: {"has": _as_named(source_styles.has, work)},
        ):  # fmt: skip
            translate_jobs(plan.jobs, settings, source_styles, translator, options, report, bar, sight)
        report.extra = translator.extra_cost.since(before)


def _as_named(has: Mapping[str, list[str]], work: Work) -> dict[str, list[str]]:
    """What was read of the sources, under the names that they were given: the path of a pipe's file means nothing."""
    names = {printable(path): name for path, name in zip(work.given, work.named, strict=True)}

    def named(source: str) -> str:
        path, face, number = source.rpartition(FACE)
        return names.get(source) or f"{names.get(path, path)}{face}{number}"

    return {named(source): labels for source, labels in has.items()}


def _mark_settings(
    bundle: Bundle, style: Mapping[str, Any], options: TranslateOptions, faces: Mapping[str, str] | None
) -> str:
    """The settings' part of a mark: equal for two runs whose translations of a source may replace each other. It
    leaves out the engine, because engines agree within a grey level, and the paths of references and bundle."""
    settings: dict[str, Any] = {
        "bundle": bundle.sha256, "style": style_identity(style), "fit": options.fit, "precision": options.precision,
    }  # fmt: skip
    # these only if they are given, so that translations of earlier versions are accepted
    if options.quality is not None:
        settings["quality"] = options.quality
    if options.keep_alpha:
        settings["alpha"] = True
    if not options.metadata:
        settings["metadata"] = False
    if faces is not None:
        settings["align"] = {"faces": options.faces, **faces}
    return fingerprint(settings)
