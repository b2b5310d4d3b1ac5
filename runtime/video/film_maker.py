"""Makes a bundle's films one after the other. The engine, the styles and what finds faces are opened by the first film
that needs them, and stay open for the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from starcast.errors import OptionError, StarcastError
from starcast.hold import hold
from starcast.runtime.bundle import Bundle
from starcast.runtime.faces.align_flag import align_references, open_faces
from starcast.runtime.faces.detector import FAST
from starcast.runtime.faces.sight import Sight
from starcast.runtime.manifest import Manifest
from starcast.runtime.progress import ProgressBar
from starcast.runtime.source_styles import SourceStyles
from starcast.runtime.style_requests import graphs_for
from starcast.runtime.translator import Translator
from starcast.runtime.video.faces import tell_faceless
from starcast.runtime.video.film_record import FilmRecord, is_done
from starcast.runtime.video.film_stages import stage_names, stages_of
from starcast.runtime.video.input.failures import failures_of
from starcast.runtime.video.input.film import Film
from starcast.runtime.video.input.view import open_view
from starcast.runtime.video.model_stages import FilmModel
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.output.encode import settle
from starcast.runtime.video.output.sink import Sink
from starcast.runtime.video.pipeline import Opening, write_film
from starcast.runtime.video.preview import Preview, PreviewFiles
from starcast.runtime.video.rehearsal import work_of
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.restart.parts import discard_parts, versions
from starcast.runtime.video.restart.same_engine import engine_facts, open_same_engine
from starcast.runtime.video.statistics_file import check_statistics, tell_statistics
from starcast.runtime.video.timeline.course import FilmStyles
from starcast.runtime.video.timeline.recursion import recursion_of
from starcast.runtime.video.timeline.style_plan import StylePlan, plan_styles

if TYPE_CHECKING:
    from starcast.runtime.faces.opening import FaceFiles
    from starcast.runtime.video.output.animated_output import FromFilm

    OpenBar = Callable[[int], AbstractContextManager[ProgressBar]]  # for a film of so many frames; 0: unknown


@dataclass(frozen=True, eq=False)
class Look:
    """How films are translated, and to which styles. `facts`: the styles' entries in a record, with their hashes.
    `problems`: a sentence for each reference that cannot be read, where others remain."""

    options: VideoOptions
    plan: StylePlan
    facts: list[dict[str, Any]]
    problems: tuple[str, ...] = ()


def look_of(options: VideoOptions, manifest: Manifest, progress: Callable[[str], None]) -> Look:
    """The look that options ask for. Reads the references. Raises OptionError, StyleError, ImageError."""
    problems: list[str] = []
    plan = plan_styles(options, manifest, progress, problems.append)
    if options.faces == "all" and any(request.depends_on_source for request in plan.requests):
        raise OptionError(
            "with --faces all, a video's faces would all get the attributes of the first one: give --has, or leave "
            "out --faces all"
        )
    return Look(options, plan, plan.facts, tuple(problems))


class FilmMaker:
    """Use it in `with`. The `looks` are those of all films to come; they agree in the choice of an engine.

    `broken`: looks for which engine or style cannot be opened, so that no film can be made in them, and why.
    """

    def __init__(self, bundle: Bundle, looks: Sequence[Look], progress: Callable[[str], None]) -> None:
        self.broken: dict[Look, StarcastError] = {}
        self._bundle, self._looks, self._progress = bundle, looks, progress
        self._closing = ExitStack()
        self._bar: ProgressBar | None = None
        self._translator: Translator | None = None
        self._faces: dict[tuple[Any, ...], FaceFiles | None] = {}
        self._styles: dict[Look, tuple[SourceStyles, Sight | None]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close everything; the next film opens it again."""
        self._translator = None
        self._faces.clear()
        self._styles.clear()
        self._closing.close()

    def make(
        self, look: Look, source_path: Path, target: Path, open_bar: OpenBar, since_ns: int | None = None
    ) -> FilmReport:
        """Translate a film, unless `target` is that film already; then only its record is written, where it is missing.
        `since_ns` as for `is_done`.

        With --preview, only that is made, and `target` stays as it is.
        Raises OptionError, StyleError, BundleError, EngineError, ImageError, VideoError; then nothing is written.
        """
        if look.options.preview:
            return self._preview(look, source_path, target, open_bar)
        options = settle(look.options, target)
        check_statistics(options.statistics, target, source_path)
        report = FilmReport(target, dict.fromkeys(stage_names(options), 0.0))
        record = self.record_of(look, source_path, target)
        with hold(target):
            if is_done(record, target, report, overwrite=options.overwrite, since_ns=since_ns):
                discard_parts(record)
            else:
                with open_view(source_path, options) as source:
                    self._make(source, source_path, target, look, options, record, report, open_bar)
            tell_statistics(options.statistics, report, self._progress)
        return report

    def _preview(self, look: Look, source_path: Path, target: Path, open_bar: OpenBar) -> FilmReport:
        settled = settle(look.options, target)
        files = PreviewFiles(target, settled)
        files.check(source_path)
        options = files.encoding(settled)
        record = self.record_of(look, source_path, target)
        with hold(files.film), open_view(source_path, options) as source:
            course = look.plan.course(source.rate, source.duration_s)
            translator = self._open_engine(look, source_path, options, record)
            preview = Preview(source_path, source, files, options, course, look.facts)
            with open_bar(preview.frames) as self._bar:
                try:
                    styles, sight = self._open_style(look, translator)
                    styles.has.clear()  # of the film before
                    return preview.write(translator, styles, sight, self._bar)
                finally:
                    self._bar = None

    def record_of(self, look: Look, source_path: Path, target: Path) -> FilmRecord:
        """The record of a film that is made, or will be. Raises what opening the files that find faces raises."""
        faces = self._open_faces(look)
        facts = None if faces is None else faces.facts
        options = settle(look.options, target)
        return FilmRecord(target, [source_path], self._bundle, options, look.facts, facts)

    def _make(
        self,
        source: Film,
        source_path: Path,
        target: Path,
        look: Look,
        options: VideoOptions,
        record: FilmRecord,
        report: FilmReport,
        open_bar: OpenBar,
    ) -> None:
        course = look.plan.course(source.rate, source.duration_s)
        recursion = recursion_of(options, source.rate, source.duration_s, source.time_base)
        translator = self._open_engine(look, source_path, options, record)
        with open_bar(source.frames) as self._bar:
            bar = self._bar
            try:
                styles, sight = self._open_style(look, translator)
                styles.has.clear()  # of the film before
                before = translator.extra_cost
                report.notes += course.notes(source.duration_s)
                for note in report.notes:
                    bar.print(note)
                timeline = FilmStyles(styles, course, source.time_base, source.name)
                model = FilmModel(translator, timeline, recursion)
                sink = _write(source, target, model, sight, options, record, report, bar)
                report.extra = translator.extra_cost.since(before)
                unchanged = "they are written unchanged", "its frames are written unchanged"
                report.failed = [
                    *look.problems,
                    *failures_of(source, sink.refused),
                    *tell_faceless(source, report, *unchanged, bar.print),
                ]
                for sentence in report.failed:
                    bar.print(sentence)
                counts = {"frames": report.frames, "damaged": source.damaged + sink.refused}
                if options.align:
                    counts["without_face"] = report.faceless
                record.save(translator.facts(), counts, report, bar.print, styles.has)
            finally:
                self._bar = None

    def _open_faces(self, look: Look) -> FaceFiles | None:
        options = look.options
        key = (options.align, options.landmarks, options.mean)
        if key not in self._faces:
            with self._remembering(look):
                self._faces[key] = self._closing.enter_context(open_faces(options, self._bundle))
        return self._faces[key]

    def _open_engine(self, look: Look, source_path: Path, options: VideoOptions, record: FilmRecord) -> Translator:
        """The engine that all films share. The first film may have been interrupted: it goes on with its engine."""
        if self._translator is None:
            with self._remembering(look):
                translator = open_same_engine(
                    record, partial(self._translator_for, source_path, options), self._print, restart=options.restart
                )
                self._translator = self._closing.enter_context(translator)
        return self._translator

    def _translator_for(self, source_path: Path, options: VideoOptions, **choice: str) -> Translator:
        manifest = self._bundle.manifest
        return Translator(
            self._bundle,
            **{**options.engine, **choice},
            work=work_of(source_path, manifest, options),
            progress=self._progress,
            beside=graphs_for([request for look in self._looks for request in look.plan.requests], manifest.condition),
        )

    def _open_style(self, look: Look, translator: Translator) -> tuple[SourceStyles, Sight | None]:
        if look not in self._styles:
            side, faces = translator.size[0], self._open_faces(look)
            with self._remembering(look):
                sight = None if faces is None else faces.sight(side, FAST, translator=translator)
                align = align_references(sight, side, self._print)
                self._styles[look] = SourceStyles(look.plan.requests, translator, self._print, align), sight
        return self._styles[look]

    @contextmanager
    def _remembering(self, look: Look) -> Iterator[None]:
        """Enters what the block raises into `broken`."""
        try:
            yield
        except StarcastError as error:
            self.broken[look] = error
            raise

    def _print(self, line: str) -> None:
        (self._progress if self._bar is None else self._bar.print)(line)


def _write(
    source: Film,
    target: Path,
    model: FilmModel,
    sight: Sight | None,
    options: VideoOptions,
    record: FilmRecord,
    report: FilmReport,
    bar: ProgressBar,
) -> Sink | FromFilm:
    stages = stages_of(source, model, sight, options, report)
    geometry = stages.geometry
    origin = {**record.identity, **versions(), "engine": engine_facts(model.translator, options.batch)}
    opening = Opening(
        target, options.output_size(geometry.output), options, record.mark, metadata=options.metadata, origin=origin,
        restart=options.restart, memories=stages.memories,
    )  # fmt: skip
    return write_film(source, opening, geometry, stages.making, report, bar)
