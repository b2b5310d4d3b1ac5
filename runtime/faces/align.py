"""Align many images: find the face of each, cut its square out, and record how.

Files, names, records and restarts are those of `translate`. An image that cannot be read or shows
no face is reported and left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from starcast.errors import ImageError, OptionError, printable
from starcast.hold import hold, hold_folder
from starcast.images.metadata import Metadata
from starcast.runtime.bundle import sha256_of
from starcast.runtime.faces.finders import Finder, open_finder
from starcast.runtime.faces.mean import read_mean
from starcast.runtime.faces.options import AlignOptions
from starcast.runtime.faces.points import FacePoints
from starcast.runtime.faces.similarity import Matrix, similarity
from starcast.runtime.faces.video_advice import video_for_images, why_no_video
from starcast.runtime.faces.warp import align
from starcast.runtime.folder.jobs import Job, plan_jobs, tell_edited
from starcast.runtime.folder.names import output_paths
from starcast.runtime.folder.outputs import (
    FILM_SUFFIXES,
    is_one_file,
    refuse_source_folder,
    refuse_to_overwrite_sources,
    refuse_unused_options,
)
from starcast.runtime.folder.pipeline import READERS
from starcast.runtime.folder.read_source import read_source
from starcast.runtime.folder.recorded import RunReport, recorded
from starcast.runtime.folder.sources import SourceFile, find_sources, is_video
from starcast.runtime.folder.write_output import WRITERS, Written, stop_if_unwritable, write_output
from starcast.runtime.marks import Mark
from starcast.runtime.progress import ProgressBar
from starcast.runtime.record import (
    RECORD,
    fingerprint,
    interrupted_since,
    record_beside,
    refuse_foreign_record,
    run_facts,
    write_record,
)
from starcast.runtime.stages import InOrder, map_ahead, open_pool

STAGES = ("read", "find", "write")
WORDING = "image", "align"  # noun and verb in the sentences of `left_out` and `nothing_in`
CROP_IT = "crop it to the face, or leave it out"


class Report(RunReport):
    """What `align_all` did. `seconds` sums each stage; aligning is part of `write`."""

    seconds: dict[str, float] = msgspec.field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    def summary(self) -> str:
        """Two lines: the counts; milliseconds per stage and images per second."""
        stages = {stage: f"{1000 * total / max(1, self.done):.1f}" for stage, total in self.seconds.items()}
        return self.lines("aligned", stages, self.done)


class _Read(msgspec.Struct, frozen=True):
    """A source that was read: `image` is uint8 [H, W, 3], or [H, W, 4] to keep its transparency."""

    image: NDArray[np.uint8]
    metadata: Metadata | None
    content: str
    place: str
    notes: tuple[str, ...]
    seconds: float


def align_all(
    sources: Sequence[Path],
    options: AlignOptions,
    *,
    named: Sequence[str] | None = None,
    progress: Callable[[str], None] = print,
    show_progress: bool = False,
) -> Report:
    """Align the face in everything that `sources` name, into `options.output`.

    `named` and `progress` as in `translate_all`. Raises OptionError (no images, an unusable output, a mean or landmarks
    that are missing), CheckpointError, BundleError, EngineError. What is finished by then stays, and the next run
    continues from there.
    """
    output = options.output
    if output is None:
        raise OptionError("say where the aligned images go: -o OUT")
    refuse_source_folder(sources, output)
    if output.suffix.lower() in FILM_SUFFIXES and not output.is_dir():
        raise OptionError(why_no_video(sources, output))
    report = Report()
    found = find_sources(sources, leave_out=output if output.is_dir() else None, take_aligned=False)
    for problem in found.problems:
        report.fail(problem, progress)
    for line in found.left_out(*WORDING):
        progress(line)
    if not found.sources:
        raise OptionError(found.nothing_in(sources, *WORDING))
    if len(found.sources) == 1 and is_video(found.sources[0].path):
        raise OptionError(video_for_images(found.sources[0].path, output))
    one_file = is_one_file(output, len(found.sources), 1)
    paths = [(output,)] if one_file else output_paths(found.sources, ["aligned"], output, f".{options.format}")
    refuse_to_overwrite_sources(found.sources, paths)
    refuse_unused_options(options, output.suffix if one_file else f".{options.format}")
    mean = None if options.mean is None else read_mean(options.mean)
    record = record_beside(output) if one_file else output / RECORD
    with (
        open_finder(options.landmarks, options.size) as finder,
        hold(output) if one_file else hold_folder(output),
    ):
        work = _Work(found.sources, paths, list(named or map(str, sources)), record, finder, mean)
        _align_missing(work, options, report, progress, show_progress)
    return report


class _Work(msgspec.Struct, frozen=True):
    """What is aligned, where to, and by what. `named`: the sources as they were given."""

    sources: Sequence[SourceFile]
    paths: Sequence[tuple[Path, ...]]
    named: list[str]
    record: Path
    finder: Finder
    mean: FacePoints | None


def _align_missing(
    work: _Work, options: AlignOptions, report: Report, progress: Callable[[str], None], show_progress: bool
) -> None:
    """Align what is missing, and write the record."""
    refuse_foreign_record(work.record)
    facts = {**work.finder.facts, **({} if options.mean is None else {"mean": sha256_of(options.mean)})}
    since_ns = None
    if options.overwrite:
        since_ns = interrupted_since(work.record, run_facts(None, options, [], work.named, facts))
    settings = align_settings(facts, options)
    plan = plan_jobs(
        work.sources, work.paths, [settings], (options.size, options.size), overwrite=options.overwrite,
        since_ns=since_ns, differing="source, landmarks, mean, face detector or options",
    )  # fmt: skip
    report.take_plan(plan.done, plan.failed, progress)
    tell_edited(plan.edited, "run", "aligned", progress)
    if not plan.jobs:
        return
    save = partial(write_record, work.record, None, options, [], faces=facts, engine={}, sources=work.named)
    with (
        recorded(work.record, save, report, "aligned", progress, since_ns=since_ns),
        ProgressBar(len(plan.jobs), "images", show=show_progress, progress=progress) as bar,
    ):
        _align_jobs(plan.jobs, settings, work, options, report, bar)


def align_settings(facts: Mapping[str, str], options: AlignOptions) -> str:
    """The settings' part of a mark: equal for two runs whose aligned images of a source may replace each other."""
    named = {name: getattr(options, name) for name in ("size", "quality", "keep_alpha", "metadata")}
    return fingerprint({"aligned": 1, **facts, **named})


def _align_jobs(
    jobs: Sequence[Job], settings: str, work: _Work, options: AlignOptions, report: Report, bar: ProgressBar
) -> None:
    """Align every job's image, and count it in `report`. Faces are found in the calling thread.

    Raises EngineError, and ImageError if the disk is full; what was written by then stays.
    """

    def count_written(written: tuple[Path, Written | ImageError]) -> None:
        source, outcome = written
        bar.advance()
        if isinstance(outcome, ImageError):
            stop_if_unwritable(outcome)
            return report.fail(str(outcome), bar.print)
        report.done += 1
        report.seconds["write"] += outcome.seconds
        for clause in outcome.lost:
            report.lost.setdefault(clause, []).append(source)

    with open_pool(READERS) as readers, open_pool(WRITERS) as writers:
        writes = InOrder(writers, places=2 * WRITERS, take=count_written)
        try:
            read = partial(_read, options=options)
            for job, image in zip(jobs, map_ahead(readers, read, jobs, ahead=READERS), strict=True):
                path = job.source.path
                if isinstance(image, ImageError):
                    bar.advance()
                    report.fail(str(image), bar.print)
                    continue
                for note in image.notes:
                    bar.print(f"{printable(path)} {note}")
                report.seconds["read"] += image.seconds
                start = time.perf_counter()
                face = work.finder.find(np.ascontiguousarray(image.image[..., :3]))
                report.seconds["find"] += time.perf_counter() - start
                if face is None or not face.is_face():
                    bar.advance()
                    report.fail(f"no face was found in {printable(path)}: {CROP_IT}", bar.print)
                    continue
                mark = Mark(settings=settings, content=image.content, place=image.place, is_aligned=True)
                matrix = similarity(face, work.mean, options.size)
                writes.add(partial(_write, job, image, matrix, mark, options))
        finally:
            writes.finish()


def _read(job: Job, options: AlignOptions) -> _Read | ImageError:
    path, start = job.source.path, time.perf_counter()
    try:
        source = read_source(path, options.max_pixels)
    except ImageError as error:
        return ImageError(video_for_images(path, options.output)) if is_video(path) else error
    stored = source.stored
    image = stored.pixels
    if stored.alpha is not None and options.keep_alpha:
        image = np.dstack([image, stored.alpha])
    metadata = stored.metadata if options.metadata else None
    return _Read(image, metadata, source.content, source.place, stored.notes, time.perf_counter() - start)


def _write(
    job: Job, source: _Read, matrix: Matrix, mark: Mark, options: AlignOptions
) -> tuple[Path, Written | ImageError]:
    start = time.perf_counter()
    square = align(source.image, matrix, options.size)
    aligned_s = time.perf_counter() - start
    target = job.targets[0]
    outcome = write_output(
        target.path, square, is_free=target.is_free, quality=options.quality, mark=mark.text, metadata=source.metadata
    )
    if isinstance(outcome, Written):
        outcome = Written(outcome.lost, aligned_s + outcome.seconds)
    return job.source.path, outcome
