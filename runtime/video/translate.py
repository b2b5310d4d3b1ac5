"""`starcast video`: a file in, an H.264 file out, with the sound and with every frame in order, at its own time.

pipeline.py shows the stages.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from starcast.errors import OptionError, VideoError
from starcast.hold import hold
from starcast.images.fit import NATIVE
from starcast.runtime.bundle import open_bundle
from starcast.runtime.faces.align_flag import align_references, open_faces
from starcast.runtime.faces.detector import FAST
from starcast.runtime.faces.sight import Sight
from starcast.runtime.manifest import Manifest
from starcast.runtime.progress import ProgressBar
from starcast.runtime.record import style_facts
from starcast.runtime.source_styles import SourceStyles
from starcast.runtime.style_requests import StyleRequest, graphs_for, requests_from
from starcast.runtime.translator import Translator
from starcast.runtime.video.faces import (
    ALIGN,
    PUT_BACK,
    tell_faceless,
)
from starcast.runtime.video.failures import failures_of
from starcast.runtime.video.film import Film
from starcast.runtime.video.film_record import FilmRecord, is_done
from starcast.runtime.video.model_stages import translating, translating_faces
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.pipeline import Opening, write_film
from starcast.runtime.video.rehearsal import STAGES, work_of
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.sink import Sink, check_target
from starcast.runtime.video.source import open_film

FACE_STAGES = ("decode", "fit", ALIGN, "run", PUT_BACK, "encode")


def translate_video(
    bundle_path: Path,
    source_path: Path,
    target: Path,
    options: VideoOptions,
    *,
    progress: Callable[[str], None] = print,
    show_progress: bool = False,
) -> FilmReport:
    """Translate the frames of a video in one style; `target`'s suffix decides the container.

    If `target` is that film already, only its record is written, where it is missing.

    Sound and subtitles are copied if the container accepts them. A source that is damaged or cut short is translated as
    far as it can be decoded, and the report's `failed` says so. `progress` gets the lines that a user should see.
    Raises OptionError, StyleError, BundleError, EngineError, VideoError; then nothing is written.
    """
    check_target(target, source_path)
    bundle = open_bundle(bundle_path)
    bundle.check_source()
    request = _one_style(options, bundle.manifest, progress)
    report = FilmReport(target, dict.fromkeys(FACE_STAGES if options.align else STAGES, 0.0))
    with open_faces(options, bundle) as faces, hold(target):
        facts = None if faces is None else faces.facts
        record = FilmRecord(target, [source_path], bundle, options, style_facts([request]), facts)
        if not is_done(record, target, report, overwrite=options.overwrite):
            with (
                open_film(source_path, options.max_pixels) as source,
                Translator(
                    bundle,
                    **options.engine,
                    work=work_of(source_path, bundle.manifest, options),
                    progress=progress,
                    beside=graphs_for([request], bundle.manifest.condition),
                ) as translator,
                ProgressBar(source.frames, "frames", show=show_progress, progress=progress) as bar,
            ):
                side = translator.size[0]
                sight = None if faces is None else faces.sight(side, FAST, translator=translator)
                styles = SourceStyles([request], translator, bar.print, align_references(sight, side, bar.print))
                before = translator.extra_cost
                sink = _write(source, target, translator, styles, sight, options, record.mark, report, bar)
                report.extra = translator.extra_cost.since(before)
                unchanged = "they are written unchanged", "its frames are written unchanged"
                report.failed = [
                    *failures_of(source, sink.refused), *tell_faceless(source, report, *unchanged, bar.print)
                ]  # fmt: skip
                for sentence in report.failed:
                    progress(sentence)
                counts = {"frames": report.frames, "damaged": source.damaged + sink.refused}
                if options.align:
                    counts["without_face"] = report.faceless
                record.save(translator.facts(), counts, report, progress, styles.has)
    return report


def _write(
    source: Film,
    target: Path,
    translator: Translator,
    styles: SourceStyles,
    sight: Sight | None,
    options: VideoOptions,
    mark: str,
    report: FilmReport,
    bar: ProgressBar,
) -> Sink:
    # frames may change size mid-stream; the size of the output does not
    mode = NATIVE if options.align else options.fit
    size = source.shown_size if mode == NATIVE else translator.size
    reason = translator.why_not(*(translator.size if options.align else size))
    if reason is not None:
        raise VideoError(f"{source.name} has frames of {size[1]}x{size[0]} pixels: {reason}")
    making = translating if sight is None else partial(translating_faces, sight=sight)
    stages = partial(making, film=source, translator=translator, styles=styles, options=options, report=report)
    opening = Opening(target, size, options, mark, metadata=options.metadata)
    return write_film(source, opening, size, mode, stages, report, bar)


def _one_style(options: VideoOptions, manifest: Manifest, progress: Callable[[str], None]) -> StyleRequest:
    requests = requests_from(
        options, manifest.domains, labels=manifest.condition.only_labels, progress=progress, several=False
    )
    if len(requests) != 1:
        raise OptionError(
            f"a video gets one style, but {len(requests)} were asked for: give one --domain"
            f"{' and one --seed or --ref' if manifest.condition.only_labels is None else ', or --set'}"
        )
    if options.faces == "all" and requests[0].depends_on_source:
        raise OptionError(
            "with --faces all, a video's faces would all get the attributes of the first one: give --has, or leave "
            "out --faces all"
        )
    return requests[0]
