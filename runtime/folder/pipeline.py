"""Read and fit, translate, write: three stages side by side, in order, with bounded queues between them.

The queues limit how many images are in memory at once, so memory stays flat over thousands.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from starcast.errors import ImageError, printable
from starcast.images.fit import NATIVE, fit
from starcast.images.metadata import Metadata
from starcast.images.write import why_too_large
from starcast.runtime.extra_inputs import ExtraCost
from starcast.runtime.folder.jobs import Job, Target
from starcast.runtime.folder.read_source import read_source
from starcast.runtime.folder.recorded import RunReport
from starcast.runtime.folder.write_output import WRITERS, Written, stop_if_unwritable, write_output
from starcast.runtime.marks import Mark
from starcast.runtime.options import TranslateOptions
from starcast.runtime.progress import ProgressBar
from starcast.runtime.source_styles import SourceStyles
from starcast.runtime.stages import Batches, InOrder, map_ahead, open_pool, slices
from starcast.runtime.translator import Translator

if TYPE_CHECKING:
    from starcast.runtime.faces.sight import Face, Sight

READERS = 3
SPARE_DETAIL = 4  # JPEGs are decoded at no less than this many times the model's sides, so that fitting still averages
STAGES = ("read", "fit", "run", "write")
FACE = ", face "  # between a source's name and the number of a face


class Prepared(msgspec.Struct, frozen=True):
    """A source, read and fitted: uint8 [height, width, 3], its hashes, and the seconds that each step took.

    With --align, `image` is the whole source, and `faces` are the aligned squares that are translated in its place.
    `alpha`, uint8 [height, width], and `metadata` are None unless the translation is to have them. `notes`: clauses
    that say how the file was read.
    """

    image: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None
    metadata: Metadata | None
    path: Path
    content: str
    place: str
    notes: tuple[str, ...]
    read_s: float
    fit_s: float
    faces: Sequence[Face] = ()

    @property
    def inputs(self) -> list[NDArray[np.uint8]]:
        """What the model translates, all of one size."""
        return [square for square, _ in self.faces] or [self.image]

    @property
    def named_inputs(self) -> list[tuple[NDArray[np.uint8], str]]:
        """The inputs, and what progress and record call them: by the source's path, and several faces by number, too,
        from the largest one on."""
        name = printable(self.path)
        if len(self.faces) < 2:
            return [(self.inputs[0], name)]
        return [(image, f"{name}{FACE}{number}") for number, image in enumerate(self.inputs, start=1)]

    def finish(self, translations: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The translation of the source, from those of its `inputs`."""
        if not self.faces:
            return translations[0]
        from starcast.runtime.faces.put_back import put_back

        matrices = (matrix for _, matrix in self.faces)
        return put_back(self.image, zip(translations, matrices, strict=True))


# a source, a target, and for each of the source's inputs the style that turns it into the target's
Ready = tuple[Prepared, Target, Sequence[NDArray[np.float32]]]


class Report(RunReport):
    """What `translate_all` did. `seconds` sums each stage over all images: read and fit a source, run and write a
    translation."""

    sources: int = 0
    seconds: dict[str, float] = msgspec.field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    extra: ExtraCost = ExtraCost()  # cost of the frame graph's extra inputs, part of the stage `run`

    def stage_ms(self) -> dict[str, float]:
        """Milliseconds per image in each stage. Stages overlap: their sum is more than the time an image takes."""
        counts = {"read": self.sources, "fit": self.sources, "run": self.done, "write": self.done}
        return {stage: 1000 * total / max(1, counts[stage]) for stage, total in self.seconds.items()}

    def summary(self) -> str:
        """Two lines: the counts; milliseconds per stage and images per second."""
        stages = {stage: f"{ms:.1f}{self.extra.within(stage, self.done)}" for stage, ms in self.stage_ms().items()}
        return self.lines("translated", stages, self.done)


def translate_jobs(
    jobs: Sequence[Job],
    settings: Sequence[str],
    styles: SourceStyles,
    translator: Translator,
    options: TranslateOptions,
    report: Report,
    bar: ProgressBar,
    sight: Sight | None = None,
) -> None:
    """Make every target of every job, and count them in `report`.

    `settings`, the marks' part of each style, is indexed by style number, as `styles` are. `sight` finds faces, with
    --align. The engine runs in the
    calling thread. Raises EngineError, and ImageError if the disk is full; what was written by then stays.
    """

    def translate(targets: Sequence[Ready]) -> tuple[None, ...]:
        images = [image for prepared, _, _ in targets for image in prepared.inputs]
        vectors = [vector for _, _, own in targets for vector in own]
        start = time.perf_counter()
        translations = iter([
            translation
            for part in slices(len(images), batch)  # a source may have many faces
            for translation in translator(np.stack(images[part]), np.stack(vectors[part]))
        ])  # fmt: skip
        report.seconds["run"] += time.perf_counter() - start
        for prepared, target, _ in targets:
            translation = prepared.finish([next(translations) for _ in prepared.inputs])
            mark = Mark(settings=settings[target.style], content=prepared.content, place=prepared.place)
            image = translation if prepared.alpha is None else np.dstack([translation, prepared.alpha])
            in_file = {"quality": options.quality, "mark": mark.text, "metadata": prepared.metadata}
            write = partial(write_output, target.path, image, is_free=target.is_free, **in_file)
            writes.add(partial(_with_source, prepared.path, write))
        return ()  # `count_written` counts what is written

    def count_written(written: tuple[Path, Written | ImageError]) -> None:
        source, outcome = written
        if isinstance(outcome, ImageError):
            stop_if_unwritable(outcome)
            report.fail(str(outcome), bar.print)
        else:
            report.done += 1
            report.seconds["write"] += outcome.seconds
            for clause in outcome.lost:
                sources = report.lost.setdefault(clause, [])
                if source not in sources[-1:]:  # one of several styles
                    sources.append(source)
        bar.advance()

    batch = options.batch or translator.batch
    batches: Batches[Ready, None]
    batches = Batches(batch, translate, kind=lambda target: target[0].inputs[0].shape)  # one batch, one size
    whole = options.align or options.fit == NATIVE  # photographs in their own size: few of them may wait
    ahead, places = (READERS, WRITERS) if whole else (batch + READERS, 2 * batch + WRITERS)
    prepare = partial(_prepare, size=translator.size, why_not=translator.why_not, options=options, sight=sight)
    with open_pool(READERS) as readers, open_pool(WRITERS) as writers:
        writes = InOrder(writers, places=places, take=count_written)
        try:
            for job, prepared in zip(jobs, map_ahead(readers, prepare, jobs, ahead=ahead), strict=True):
                if isinstance(prepared, ImageError):
                    report.fail(str(prepared), bar.print)
                    bar.advance(len(job.targets))
                    continue
                for note in prepared.notes:
                    bar.print(f"{printable(job.source.path)} {note}")
                report.sources += 1
                report.seconds["read"] += prepared.read_s
                report.seconds["fit"] += prepared.fit_s
                start = time.perf_counter()
                vectors = [styles.make(image, name) for image, name in prepared.named_inputs]
                report.seconds["run"] += time.perf_counter() - start
                for target in job.targets:
                    batches.add((prepared, target, [own[target.style] for own in vectors]))
            batches.finish()
        finally:
            writes.finish()


def _prepare(
    job: Job,
    size: tuple[int, int],
    why_not: Callable[[int, int], str | None],
    options: TranslateOptions,
    sight: Sight | None,
) -> Prepared | ImageError:
    path = job.source.path
    mode = NATIVE if options.align else options.fit
    spare = None if mode == NATIVE else (size[0] * SPARE_DETAIL, size[1] * SPARE_DETAIL)
    start = time.perf_counter()
    try:
        source = read_source(path, options.max_pixels, at_least=spare)
    except ImageError as error:
        return error
    read = time.perf_counter()
    stored = source.stored
    fitted = fit(stored.pixels, size, mode)
    alpha = None if stored.alpha is None or not options.keep_alpha else fit(stored.alpha, size, mode)
    faces = () if sight is None else sight.cut_out(fitted, size[0], every=options.faces == "all")
    if sight is not None and not faces:
        return ImageError(f"no face was found in {printable(path)}: translate it without --align, or leave it out")
    height, width = fitted.shape[:2]
    reason = why_not(*(size if faces else (height, width))) or why_too_large(
        job.targets[0].path.suffix, (height, width)
    )
    if reason is not None:
        return ImageError(f"{printable(path)} has {width}x{height} pixels: {reason}")
    return Prepared(
        image=fitted,
        alpha=alpha,
        metadata=stored.metadata if options.metadata else None,
        path=path,
        content=source.content,
        place=source.place,
        notes=stored.notes,
        read_s=read - start,
        fit_s=time.perf_counter() - read,
        faces=faces,
    )


def _with_source(source: Path, write: Callable[[], Written | ImageError]) -> tuple[Path, Written | ImageError]:
    return source, write()
