"""The demo: the whole chain on a drawn data set, and one page that shows the results.

OUT/data  the creatures    OUT/run  the training    OUT/bundle  the ONNX graphs
OUT/translations, OUT/creature-*.mp4                OUT/results.json, OUT/report.html
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import click
from tqdm import tqdm

from starcast.benchmarks.bench import report
from starcast.benchmarks.bench.cpu import Cpu
from starcast.benchmarks.bench.report import draw_chart
from starcast.benchmarks.bench.result import Result
from starcast.benchmarks.bench.run import measure_subject
from starcast.benchmarks.bench.subject import Subject
from starcast.benchmarks.demo.folder import claim, start_over
from starcast.benchmarks.demo.page import (
    Picture,
    commands_by_hand,
    draw_sheets,
    file_uri,
    quality_figures,
    variant_rows,
    write_page,
)
from starcast.benchmarks.options import BenchOptions, DemoOptions
from starcast.benchmarks.quality.classifier import train_classifier
from starcast.benchmarks.quality.creatures import Quality, measure_quality
from starcast.benchmarks.quality.measures import read_held_out, read_training_images
from starcast.benchmarks.record import provenance, write_result
from starcast.errors import EngineError, OptionError, ParityError, VideoError, printable
from starcast.export.options import ExportOptions
from starcast.export.plan import usual_engines
from starcast.export.precisions import CPU_ENGINES, precisions_for
from starcast.export.write import export_bundle
from starcast.hold import hold_folder
from starcast.options import as_json
from starcast.runtime.bundle import Bundle
from starcast.runtime.folder.translate import translate_all
from starcast.runtime.options import TranslateOptions
from starcast.runtime.translator import Translator
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.translate import translate_video
from starcast.train.creatures.dataset import make_dataset
from starcast.train.creatures.files import FACTS, VIDEO
from starcast.train.creatures.options import CreatureOptions
from starcast.train.families import read_recipe
from starcast.train.options import TrainOptions
from starcast.train.plot import plot_run
from starcast.train.run import train
from starcast.train.run_folder import RunFolder
from starcast.train.state import find_start


class Stages(AbstractContextManager["Stages"]):
    """A progress bar over named stages.

    `expected` lists them in order, with their usual seconds; only the proportions count. The time left is the rest of
    `expected`, scaled by how fast this machine has been so far.
    """

    def __init__(self, expected: Mapping[str, float]) -> None:
        self.expected = dict(expected)
        self.seconds: dict[str, float] = {}
        self._current = ""
        self._done_before = 0.0
        self._bar = tqdm(total=sum(expected.values()), bar_format="{l_bar}{bar}| {elapsed}<{remaining}", mininterval=1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Show the stage's name while it lasts, record its seconds, and move the bar to the stage's end."""
        self._done_before = sum(self.expected[before] for before in self.seconds)
        self._current = name
        self._bar.set_description_str(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        self.advance(1.0)

    def advance(self, share: float, note: str = "") -> None:
        """Show that this share of the current stage, 0..1, is done."""
        if note:
            self._bar.set_description_str(f"{self._current}: {note}", refresh=False)
        self._bar.update(self._done_before + self.expected[self._current] * min(share, 1.0) - self._bar.n)

    def note(self, sentence: str) -> None:
        """Write a line above the bar."""
        self._bar.write(sentence)


# usual seconds on two AVX2 cores; only their proportions count
EXPECTED = {
    "drawing": 12,
    "training": 430,
    "exporting": 20,
    "translating": 15,
    "filming": 12,
    "judging": 45,
    "timing": 120,
}
# rows of `starcast bench`, except the second compiled one, which takes a minute more
TIMED = ("eager*", "compiled", "plain-*", "nncf-*", "ours-*")

LEAD = (
    "A program drew three kinds of creatures. A network learned to turn each kind into the others. It was exported to "
    "ONNX, compared with PyTorch, and run without it, on images it had never seen and on a video."
)


def training_options(options: DemoOptions) -> TrainOptions:
    """The small recipe, shortened to a few minutes on two cores."""
    third = max(options.steps // 3, 1)
    return read_recipe(
        "small", steps=options.steps, ds_steps=options.steps, seed=options.seed, workers=0, crop_probability=0.0,
        log_every=min(10, options.steps), sample_every=third, snapshot_every=0, save_every=third, keep=1,
    )  # fmt: skip


def run_demo(options: DemoOptions) -> int:
    """Run every stage and write OUT/report.html. Returns the exit status: 1 if the model misses a quality bar.

    Raises OptionError if the folder holds anything that no demo wrote, or a run with other options.
    """
    with hold_folder(options.output):
        claim(options.output)
        if options.fresh:
            start_over(options.output)
        return _run_stages(options)


def _run_stages(options: DemoOptions) -> int:
    out = options.output
    with Stages(EXPECTED) as stages:
        with stages.stage("drawing"):
            data = _draw(out / "data", options, stages)
        with stages.stage("training"):
            checkpoint = _train(data, out / "run", options, stages)
        with stages.stage("exporting"):
            bundle = _export(checkpoint, out / "bundle", stages)
        with stages.stage("translating"):
            sources = [data / domain / "val" for domain in bundle.manifest.domains]
            to_all = TranslateOptions(output=out / "translations", domain="all", overwrite=True)
            translated = translate_all(bundle.path, sources, to_all, progress=stages.note)
            if translated.failed:
                raise EngineError(
                    f"{len(translated.failed)} held-out images were not translated: {translated.failed[0]}"
                )
        with stages.stage("filming"):
            videos = _film(bundle, data / VIDEO, out, stages.note)
        with stages.stage("judging"), Translator(bundle.path) as translator:
            held_out, real = read_held_out(data), read_training_images(data)
            quality = measure_quality(
                held_out, translator, train_classifier(*real),
                classify_pattern=train_classifier(*real, pattern_only=True),
                progress=lambda done, of: stages.advance(done / of),
            )  # fmt: skip
            sheets = draw_sheets(held_out, translator)
        with stages.stage("timing"), tempfile.TemporaryDirectory() as folder:
            measured = measure_subject(
                Subject(checkpoint, bundle, Path(folder)), BenchOptions(rows=TIMED, rounds=options.rounds), Cpu(),
                progress=lambda text: stages.advance(0.5, text),
            )  # fmt: skip
    _write(out, options, bundle, quality, measured, sheets, videos, stages.seconds)
    return _tell(out, quality, measured)


def _draw(folder: Path, options: DemoOptions, stages: Stages) -> Path:
    wanted = CreatureOptions(seed=options.seed, overwrite=True)
    if _drawn_options(folder) == _without_overwrite(wanted):
        return folder  # equal options draw an equal set
    return make_dataset(folder, wanted, lambda done, of: stages.advance(done / of)).folder


def _drawn_options(folder: Path) -> Any:
    try:
        return json.loads((folder / FACTS).read_bytes())["options"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _without_overwrite(options: CreatureOptions) -> dict[str, Any]:
    return {name: value for name, value in as_json(options).items() if name != "overwrite"}


def _train(data: Path, run: Path, options: DemoOptions, stages: Stages) -> Path:
    """Train, or resume where an interrupted demo stopped."""
    wanted = training_options(options)
    resuming = RunFolder(run).has_run()
    if resuming:
        if find_start(RunFolder(run), stages.note).options != wanted:
            raise OptionError(
                f"{printable(run)} was trained with other options: give them again, add --fresh to delete it and start "
                "over, or choose another -o"
            )
        stages.note(f"Resuming the training in {run}; --fresh starts over.")

    def show(step: int, losses: Mapping[str, float]) -> None:
        cycle = f", cycle {losses['G/latent_cyc']:.2f}" if losses else ""
        stages.advance(step / wanted.course.steps, f"step {step} of {wanted.course.steps}{cycle}")

    return train(data, run, wanted, resume=resuming, bar=False, on_step=show, progress=stages.note)


def _film(bundle: Bundle, clip: Path, out: Path, progress: Callable[[str], None]) -> list[dict[str, str]]:
    videos = [{"uri": file_uri(clip, "video/mp4"), "caption": "the source, with its sound"}]
    for domain in bundle.manifest.domains[1:]:
        target = out / f"creature-{domain}.mp4"
        film = translate_video(
            bundle.path, clip, target, VideoOptions(domain=domain, seed=1, overwrite=True), progress=progress
        )
        if film.failed:
            raise VideoError(film.failed[0])
        videos.append({"uri": file_uri(target, "video/mp4"), "caption": f"translated to {domain}"})
    return videos


def _write(
    out: Path,
    options: DemoOptions,
    bundle: Bundle,
    quality: Quality,
    measured: Result,
    sheets: list[Picture],
    videos: list[dict[str, str]],
    seconds: dict[str, float],
) -> None:
    threads = measured.table.baseline.row.setting.threads
    facts = provenance(threads=threads)
    result = {
        "options": as_json(options),
        "quality": quality.as_json(),
        "speed": report.record(measured),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "bundle": bundle.sha256,
    }
    write_result(out / "results.json", result)
    plot_run(out / "run", out / "run" / "losses.png")
    chart = draw_chart(out / "speed.png", measured)
    curves = Picture(
        heading="The training", caption="Losses by step.", uri=file_uri(out / "run" / "losses.png", "image/png"),
        style="",
    )  # fmt: skip
    write_page(
        out / "report.html",
        title="Creatures, translated",
        lead=LEAD,
        pictures=[*sheets, curves],
        videos=videos,
        quality=quality_figures(quality),
        quality_note=f"{options.steps} training steps. The classifier was trained on real images only.",
        variants=variant_rows(bundle),
        speed=report.lines(measured),
        speed_headers=report.headers(measured),
        speed_chart=file_uri(chart, "image/png"),
        speed_note=(
            f"One image of {bundle.manifest.source.height if bundle.manifest.source else 0} px at a time, "
            f"{threads} threads, on {facts['processor']}; ratios are paired round by round in one run. "
            "Idle threads sleep in every row. At this size that slows eager PyTorch most: against its default, whose "
            "threads spin, expect about half the ratio."
        ),
        speed_remarks=report.remarks(measured),
        stages=[{"what": name, "seconds": f"{value:.0f}"} for name, value in seconds.items()],
        commands=commands_by_hand(out, training_options(options)),
        facts=json.dumps(facts, indent=2),
    )


def _export(checkpoint: Path, target: Path, stages: Stages) -> Bundle:
    """Export for every engine in every precision but fp8; in float32 only, if the model is trained too briefly to pass
    the other gates."""
    engines = (*usual_engines(), "tensorrt")

    def progress(text: str) -> None:
        stages.advance(0.5, text)

    try:
        every = ExportOptions(backends=engines, precision=(*precisions_for(CPU_ENGINES), "fp16"))
        return export_bundle(checkpoint, target, every, progress)
    except ParityError as error:
        stages.note(str(error))
        return export_bundle(checkpoint, target, ExportOptions(backends=engines), progress)


def _tell(out: Path, quality: Quality, measured: Result) -> int:
    click.echo(report.text(measured))
    for figure in quality_figures(quality):
        click.echo(f"{figure.what}: {figure.value} (bar: {figure.bar})")
    click.echo(f"\nThe report: {(out / 'report.html').resolve()}")
    return 1 if quality.misses() else 0
