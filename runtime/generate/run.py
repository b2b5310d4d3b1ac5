"""Generate images from seeds: list what is missing, make it, write single images and grids, and record how.

Files of an earlier run with the same settings are skipped. With --overwrite, only files that an interrupted run of the
same command wrote are skipped, so that it continues where it stopped.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from starcast.errors import BundleError, ImageError, OptionError
from starcast.hold import hold, hold_folder
from starcast.images.write import write_image
from starcast.leftovers import temporary_folder
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.engines.workload import Run, Work
from starcast.runtime.folder.outputs import is_one_file, refuse_unused_quality
from starcast.runtime.folder.recorded import RunReport, recorded
from starcast.runtime.folder.write_output import WRITERS, Written, stop_if_unwritable, write_output
from starcast.runtime.generate.images import ImageMaker, ImageSpec, chunks, list_specs, mixing_layer
from starcast.runtime.generate.options import GenerateOptions
from starcast.runtime.generate.outputs import OutputFile, Sheet, list_outputs, plan_outputs
from starcast.runtime.marks import generated_mark
from starcast.runtime.progress import ProgressBar
from starcast.runtime.record import (
    RECORD,
    interrupted_since,
    record_beside,
    refuse_foreign_record,
    run_facts,
    write_record,
)
from starcast.runtime.stages import InOrder, open_pool, run_ahead
from starcast.runtime.style_requests import latent_graphs
from starcast.runtime.translator import Translator

STAGES = ("styles", "run", "write")


class Report(RunReport):
    """What `generate_all` did: files, and the `images` that were made for them. `seconds` sums each stage."""

    images: int = 0
    seconds: dict[str, float] = msgspec.field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    def summary(self) -> str:
        """Two lines: the counts; milliseconds per stage and images per second."""
        stages = {stage: f"{1000 * total / max(1, self.images):.1f}" for stage, total in self.seconds.items()}
        return self.lines("written", stages, self.images)


@dataclass(frozen=True)
class Job:
    """What to make with which bundle, and where to write it."""

    bundle: Bundle
    options: GenerateOptions
    specs: Sequence[ImageSpec]
    layer: int
    outputs: Sequence[OutputFile]
    record: Path

    @property
    def facts(self) -> list[dict[str, Any]]:
        """The record's entry for each image."""
        return [spec.facts(self.options, self.layer) for spec in self.specs]


def generate_all(
    bundle_path: Path,
    options: GenerateOptions,
    *,
    progress: Callable[[str], None] = print,
    show_progress: bool = False,
) -> Report:
    """Make the images that `options` ask for, and write them and their grids into `options.output`.

    Raises OptionError (an unusable output, a mix that the model cannot make), StyleError, BundleError, EngineError.
    Files that are finished by then stay, and the next run continues from them.
    """
    bundle = open_bundle(bundle_path)
    kind = bundle.manifest.output
    if kind is None:
        raise BundleError(f"{bundle.path} translates images, and needs a source: use `starcast translate`")
    if options.output is None:
        raise OptionError("say where to write the images: -o OUT")
    report = Report()
    specs, twice = list_specs(options)
    if twice:
        progress(f"{twice} repeated {'image is' if twice == 1 else 'images are'} made only once")
    layer = mixing_layer(options, bundle.manifest.condition.layers)
    target = options.output if is_one_file(options.output, 1, 1) else None
    suffix = f".{options.format}" if target is None else target.suffix.lower()
    refuse_unused_quality(options.quality, suffix)
    if kind.channels == 4 and suffix in (".jpg", ".jpeg"):
        raise OptionError(f"{bundle.path} makes transparent images, which a JPEG cannot hold: choose PNG or WebP")
    outputs = list_outputs(
        specs, options, kind, partial(_settings_of, bundle, options, layer), target=target,
        has_mean=bundle.manifest.condition.means is not None,
    )  # fmt: skip
    record = options.output / RECORD if target is None else record_beside(target)
    job = Job(bundle, options, specs, layer, outputs, record)
    with hold_folder(options.output) if target is None else hold(target):
        _make_missing(job, report, progress, show_progress)
    return report


def _make_missing(job: Job, report: Report, progress: Callable[[str], None], show_progress: bool) -> None:
    """Make the missing files, and write their record."""
    bundle, options, record = job.bundle, job.options, job.record
    refuse_foreign_record(record)
    since_ns = interrupted_since(record, run_facts(bundle, options, job.facts, [])) if options.overwrite else None
    plan = plan_outputs(job.outputs, overwrite=options.overwrite, since_ns=since_ns)
    report.take_plan(plan.done, plan.failed, progress)
    if not plan.missing:
        return
    with (
        Translator(
            bundle,
            **options.engine,
            work=_work(plan.missing[0], job),
            progress=progress,
            beside=latent_graphs(bundle.manifest.condition),
        ) as translator,
        ProgressBar(len(plan.missing), "files", show=show_progress, progress=progress) as bar,
    ):
        save = partial(write_record, record, bundle, options, job.facts, engine=translator.facts(), sources=[])
        maker = ImageMaker(translator, options, job.layer)
        maker.style(job.specs[0])  # if styles cannot be made, raise before anything is written
        with recorded(record, save, report, "written", progress, since_ns=since_ns):
            _write_files(plan.missing, maker, options.batch or translator.batch, options.quality, report, bar)


def _work(output: OutputFile, job: Job) -> Work:
    """The work in which engines are measured: making and writing images like `output`. The files are deleted."""
    shape = job.bundle.manifest.condition.shape
    sample = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)

    def rehearse(make: Run, batch: int) -> Generator[None]:
        with temporary_folder() as folder, open_pool(WRITERS) as writers:
            writes: InOrder[object] = InOrder(writers, places=2 * batch + WRITERS, take=lambda written: None)
            for number in itertools.count():
                for place, image in enumerate(make(np.repeat(sample, batch, axis=0)), batch * (number % 4)):
                    writes.add(partial(write_image, folder / f"{place}{output.path.suffix}", image))
                    yield

    return Work("generate", rehearse, job.options.batch)


def _write_files(
    missing: Sequence[OutputFile], maker: ImageMaker, batch: int, quality: int | None, report: Report, bar: ProgressBar
) -> None:
    """Make each image once, and write every file as soon as its last image is there, while the next images are made and
    the styles and noise of those after them are prepared.

    Each large grid is written before the next one is started, so only one is in memory.
    """
    files_of: dict[ImageSpec, list[OutputFile]] = {}
    for output in missing:
        for spec in output.specs:
            files_of.setdefault(spec, []).append(output)
    sheets: dict[Path, Sheet] = {}
    has_grid = any(len(output.specs) > 1 for output in missing)

    def count(outcome: Written | ImageError) -> None:
        if isinstance(outcome, ImageError):
            stop_if_unwritable(outcome)
            report.fail(str(outcome), bar.print)
        else:
            report.done += 1
            report.seconds["write"] += outcome.seconds
        bar.advance()

    parts = map(maker.prepare, chunks(list(files_of), batch))
    with run_ahead(parts, "styles", depth=1) as prepared, open_pool(WRITERS) as writers:
        # few grids wait to be written, because they are large
        writes = InOrder(writers, places=WRITERS if has_grid else 2 * batch + WRITERS, take=count)
        try:
            for part in prepared:
                start = time.perf_counter()
                images = maker.images(part)
                report.seconds["run"] += time.perf_counter() - start
                report.seconds["styles"] += part.seconds
                report.images += len(part.specs)
                for spec, image in zip(part.specs, images, strict=True):
                    for output in files_of[spec]:
                        if output.size == image.shape[:2]:
                            writes.add(partial(_write, output, image, quality))
                            continue
                        sheet = sheets.get(output.path) or sheets.setdefault(output.path, Sheet(output, image.shape[2]))
                        if sheet.place(spec, image):
                            writes.add(partial(_write, output, sheets.pop(output.path).image, quality))
                            if sheet.is_large:
                                del sheet
                                writes.finish()
        finally:
            writes.finish()


def _write(output: OutputFile, image: NDArray[np.uint8] | Image.Image, quality: int | None) -> Written | ImageError:
    mark = generated_mark(output.settings).text
    return write_output(output.path, image, is_free=output.is_free, quality=quality, mark=mark)


def _settings_of(bundle: Bundle, options: GenerateOptions, layer: int, spec: ImageSpec) -> dict[str, Any]:
    """What decides an image's pixels, for its mark. Not the engine, because engines agree within a grey level."""
    settings: dict[str, Any] = {
        "bundle": bundle.sha256, "image": spec.facts(options, layer), "noise": options.noise,
        "precision": options.precision,
    }  # fmt: skip
    if options.quality is not None:
        settings["quality"] = options.quality
    return settings
