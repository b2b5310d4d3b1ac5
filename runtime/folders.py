"""Translate many pictures: read and fitted in threads, translated in batches, written in threads, in order.

No more pictures are held than the queues have places for, so memory stays flat over thousands. One picture that
cannot be read is reported and left out; what is there and whole from an earlier start is not made again.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.errors import BundleError, ImageError, OptionError
from starcast.runtime import provenance
from starcast.runtime.bundle import Bundle, open_bundle, sha256_of
from starcast.runtime.images import fit, read_image, shown, write_image
from starcast.runtime.outputs import (
    State,
    is_one_file,
    output_paths,
    refuse_source_folder,
    refuse_to_overwrite_sources,
    state_of,
)
from starcast.runtime.progress import Progress
from starcast.runtime.sources import SourceFile, find_sources
from starcast.runtime.styles import StyleRequest, requests_from
from starcast.runtime.threads import InOrder, mapped, pool
from starcast.runtime.translate_options import TranslateOptions
from starcast.runtime.translator import Translator

READERS = 3
WRITERS = 2
SPARE_DETAIL = 4  # a JPEG may be decoded smaller, down to this many times the model's sides: fitting still averages
NAMED_OTHERS = 10
_PLACE_IS_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True)
class Job:
    """A source and the translations of it that are to be made: (number of the style, where to)."""

    source: SourceFile
    targets: tuple[tuple[int, Path], ...]


@dataclass
class Report:
    """What `translate_all` did. `done` and `skipped` count translations; `failed` has a sentence each.

    `seconds` holds the sum of each stage over all pictures: read and fit a source, run and write a translation;
    `wall_s` the time from the first source to the last file, engine start left out.
    """

    done: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)
    sources: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("read", "fit", "run", "write"), 0.0))
    wall_s: float = 0.0

    def stage_ms(self) -> dict[str, float]:
        """Milliseconds a picture in each stage; they overlap, so their sum is more than the time a picture takes."""
        counts = {"read": self.sources, "fit": self.sources, "run": self.done, "write": self.done}
        return {stage: 1000 * total / max(1, counts[stage]) for stage, total in self.seconds.items()}

    def summary(self) -> str:
        """Two lines: the counts; milliseconds a stage and pictures a second."""
        lines = [f"{self.done} translated, {self.skipped} there already, {len(self.failed)} failed."]
        if self.done and self.wall_s:
            stages = ", ".join(f"{stage} {ms:.1f}" for stage, ms in self.stage_ms().items())
            lines.append(f"Milliseconds a picture: {stages}. {self.done / self.wall_s:.1f} images/s.")
        return "\n".join(lines)


def translate_all(
    bundle_path: Path,
    sources: Sequence[Path],
    options: TranslateOptions,
    *,
    say: Callable[[str], None] = print,
    show_progress: bool = False,
) -> Report:
    """Translate everything that `sources` name into `options.output`, every style of each.

    `say` gets a line for each source that fails and each file that is left alone, as they occur. Raises OptionError
    (nothing to translate, or an output that cannot be), StyleError, BundleError, EngineError; what was translated
    before stays, and the next start goes on from there.
    """
    bundle = open_bundle(bundle_path)
    if bundle.manifest.source is None:
        raise BundleError(f"{bundle.path} makes pictures from styles alone: there is no source to translate")
    if options.output is None:
        raise OptionError("say where the translations go: -o OUT")
    refuse_source_folder(sources, options.output)
    found = find_sources(sources, leave_out=options.output if options.output.is_dir() else None)
    report = Report()
    for problem in found.problems:
        _fail(report, problem, say)
    for other in found.others[:NAMED_OTHERS]:
        say(f"{shown(other)} is not a picture: left alone")
    if len(found.others) > NAMED_OTHERS:
        say(f"{len(found.others) - NAMED_OTHERS} more files are not pictures: left alone")
    if not found.sources:
        raise OptionError(f"no pictures in {', '.join(map(shown, sources)) or 'the sources'}: check the path")

    requests = requests_from(options, bundle.manifest.domains)
    one_file = is_one_file(options.output, len(found.sources), len(requests))
    paths = (
        [(options.output,)]
        if one_file
        else output_paths(found.sources, [request.label for request in requests], options.output, f".{options.format}")
    )
    refuse_to_overwrite_sources(found.sources, paths)

    styles = [style_facts(request) for request in requests]
    marks = [_settings_mark(bundle, style, options) for style in styles]
    size = (bundle.manifest.source.height, bundle.manifest.source.width)
    jobs = _jobs(found.sources, paths, marks, size, options, report)
    if not jobs:
        return report

    record = provenance.record_beside(options.output) if one_file else options.output / provenance.RECORD
    write_record = partial(
        provenance.write_record, record, bundle, options, styles, sources=[str(source) for source in sources]
    )
    with (
        Translator(
            bundle_path, backend=options.backend, precision=options.precision, threads=options.threads
        ) as translator,
        Progress(sum(len(job.targets) for job in jobs), "pictures", show=show_progress, say=say) as progress,
    ):
        vectors = np.stack([_vector(translator, request) for request in requests])
        engine = {"name": translator.backend, "precision": options.precision}
        _start_record(partial(write_record, engine=engine), options.output)
        start = time.perf_counter()
        try:
            _run(jobs, marks, vectors, translator, options, report, progress)
        finally:
            report.wall_s = time.perf_counter() - start
            counts = {"translated": report.done, "there_already": report.skipped, "failed": len(report.failed)}
            write_record(engine=engine, counts=counts)
    return report


def _jobs(
    sources: Sequence[SourceFile],
    paths: Sequence[tuple[Path, ...]],
    marks: Sequence[str],
    size: tuple[int, int],
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
            f"{shown(in_the_way[0])}: {count} there with another origin (source, bundle, style or options): "
            "give another -o, or --overwrite"
        )
    return jobs


def _run(
    jobs: Sequence[Job],
    marks: Sequence[str],
    vectors: NDArray[np.float32],
    translator: Translator,
    options: TranslateOptions,
    report: Report,
    progress: Progress,
) -> None:
    """The three stages side by side; the engine runs in the calling thread."""
    waiting: list[tuple[Prepared, int, Path]] = []

    def translate_waiting() -> None:
        if not waiting:
            return
        images = np.stack([prepared.image for prepared, _, _ in waiting])
        styles = vectors[[number for _, number, _ in waiting]]
        start = time.perf_counter()
        translations = translator(images, styles)
        report.seconds["run"] += time.perf_counter() - start
        for (prepared, number, path), translation in zip(waiting, translations, strict=True):
            mark = f"{marks[number]} source={prepared.fingerprint}"
            writes.add(partial(_written, path, translation, mark))
        waiting.clear()

    def count_written(outcome: float | ImageError) -> None:
        if isinstance(outcome, ImageError):
            if getattr(outcome.__cause__, "errno", None) in _PLACE_IS_FULL:
                raise outcome  # every later one would fail in the same way
            _fail(report, str(outcome), progress.say)
        else:
            report.done += 1
            report.seconds["write"] += outcome
        progress.advance()

    prepare = partial(_prepared, size=translator.size, options=options)
    with pool(READERS) as readers, pool(WRITERS) as writers:
        writes = InOrder(writers, places=2 * options.batch + WRITERS, take=count_written)
        try:
            for job, prepared in zip(jobs, mapped(readers, prepare, jobs, ahead=options.batch + READERS), strict=True):
                if isinstance(prepared, ImageError):
                    _fail(report, str(prepared), progress.say)
                    progress.advance(len(job.targets))
                    continue
                report.sources += 1
                report.seconds["read"] += prepared.read_s
                report.seconds["fit"] += prepared.fit_s
                for number, path in job.targets:
                    waiting.append((prepared, number, path))
                    if len(waiting) == options.batch:
                        translate_waiting()
            translate_waiting()
        finally:
            writes.finish()


@dataclass(frozen=True)
class Prepared:
    """A source at the model's size, uint8 [height, width, 3], and what it took."""

    image: NDArray[np.uint8]
    fingerprint: str
    read_s: float
    fit_s: float


def _prepared(job: Job, size: tuple[int, int], options: TranslateOptions) -> Prepared | ImageError:
    path = job.source.path
    start = time.perf_counter()
    try:
        image = read_image(
            path, max_pixels=options.max_pixels, at_least=(size[0] * SPARE_DETAIL, size[1] * SPARE_DETAIL)
        )
        fingerprint = provenance.source_fingerprint(path)
    except ImageError as error:
        return error
    except OSError as error:
        return ImageError(f"{shown(path)} went away while it was read ({error.strerror}): start again")
    read = time.perf_counter()
    fitted = fit(image, size, options.fit)
    return Prepared(fitted, fingerprint, read - start, time.perf_counter() - read)


def _written(path: Path, image: NDArray[np.uint8], mark: str) -> float | ImageError:
    """Seconds that writing took, or why it failed."""
    start = time.perf_counter()
    try:
        write_image(path, image, mark=mark)
    except ImageError as error:
        return error
    return time.perf_counter() - start


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
    return f"starcast settings={provenance.fingerprint(settings)}"


def _mark(settings: str, source: Path) -> str:
    try:
        return f"{settings} source={provenance.source_fingerprint(source)}" if source.is_file() else ""
    except OSError:
        return ""


def _vector(translator: Translator, request: StyleRequest) -> NDArray[np.float32]:
    if request.reference is not None:
        return translator.style(domain=request.domain, reference=request.reference, psi=request.psi)
    return translator.style(domain=request.domain, seed=request.seed, psi=request.psi)


def _start_record(write: Callable[[], None], output: Path) -> None:
    """The record is there before the first picture, so that a killed start has one too."""
    try:
        write()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OptionError(f"{shown(output)} cannot be written to ({reason}): give another -o") from error


def _fail(report: Report, sentence: str, say: Callable[[str], None]) -> None:
    report.failed.append(sentence)
    say(sentence)
