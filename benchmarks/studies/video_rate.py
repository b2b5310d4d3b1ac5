"""What do the stages of `starcast video` cost beside the model?

    python -m starcast.benchmarks.studies.video_rate my-model -o benchmarks/results/video-rate.json

A video is translated from file to file: as the model's images of 256 px, and put back into frames of 848x464
(`--keep-size`). The model is the bundle's own, and stand-ins that sleep or compute for 1 or 40 ms an image. No pipeline
can be faster than its slowest stage alone, nor than the CPU time of all stages, each alone, over the cores. The larger
of the two is the limit, and a row says which share of it the pipeline keeps. A stand-in that computes keeps one core
busy without Python's lock, as an engine on one thread does.
"""

from __future__ import annotations

import dataclasses
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import av
import click
import cv2
import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate
from tqdm import tqdm

from starcast import flags
from starcast.benchmarks.record import provenance, write_result
from starcast.click_options import options_from
from starcast.options import CheckedOptions, option
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.cores import allowed_threads
from starcast.runtime.translator import Translator
from starcast.runtime.video.compose import compose_frames, composer_for
from starcast.runtime.video.fitting import fit_frames
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.geometry import geometry_of
from starcast.runtime.video.input.view import open_view
from starcast.runtime.video.model_stages import translate_frames
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.output.encode import settle
from starcast.runtime.video.output.sink import Sink
from starcast.runtime.video.pipeline import is_frame
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.statistics import statistics_of
from starcast.runtime.video.translate import translate_video
from starcast.train.creatures.coats import random_coat
from starcast.train.creatures.poses import random_pose
from starcast.train.creatures.video import walk_frames

PROGRAM = "python -m starcast.benchmarks.studies.video_rate"
STAND_INS = (("sleep", 1), ("compute", 1), ("sleep", 40), ("compute", 40))
_ALONE = 120  # frames for the stages alone: all of them are in memory
_DRAWN = 100  # different frames

Images = NDArray[np.uint8]
Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class RateOptions(CheckedOptions):
    """How to measure."""

    rounds: int = flags.rounds(1)
    frames: int = option(600, "Frames of the video; for the bundle's own model a twentieth of them.", minimum=60)
    backend: str = flags.backend("openvino", "The engine of the bundle's own model.")
    json: Path | None = flags.out(
        None, "a JSON record of the figures, the machine and the versions.", aliases=("--json",)
    )


@dataclass(frozen=True)
class Cost:
    """What a stage takes alone, in milliseconds a frame."""

    ms: float
    cpu_ms: float


@dataclass(frozen=True)
class Layout:
    """A video's size (height, width), and whether the translation is put back into it."""

    name: str
    size: tuple[int, int]
    keep_size: bool


LAYOUTS = (Layout("256x256", (256, 256), False), Layout("848x464, --keep-size", (464, 848), True))


def stand_in(kind: str, ms: float) -> Callable[..., Images]:
    """A model that takes `ms` an image and returns the images: it sleeps, or computes on one core."""

    def translate(self: Translator, images: Images, style: object) -> Images:
        seconds = len(images) * ms / 1000
        if kind == "sleep":
            time.sleep(seconds)
        else:
            compute(seconds)
        return images

    return translate


def compute(seconds: float) -> None:
    """Use so much CPU time of this thread, in few calls that let go of Python's lock, as an engine does."""
    end = time.thread_time() + seconds
    while (left := end - time.thread_time()) > 0:
        _hash(max(1, int(left * _hashes_a_second())))


@cache
def _hashes_a_second() -> float:
    _hash(1000)  # warms up
    start = time.thread_time()
    _hash(20_000)
    return 20_000 / (time.thread_time() - start)


def _hash(count: int) -> None:
    hashlib.pbkdf2_hmac("sha256", b"", b"", count)


def draw_video(target: Path, size: tuple[int, int], frames: int) -> Path:
    """A walking creature, stretched to (height, width)."""
    random = np.random.default_rng(0)
    walk = walk_frames(random_pose(random), random_coat(random, "spotted"), _DRAWN // 25)
    images = [np.asarray(cv2.resize(image, size[::-1]), np.uint8) for image in walk]
    with av.open(str(target), "w") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(25), options={"crf": "18", "preset": "fast"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for number in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(images[number % len(images)], format="rgb24")))
        container.mux(stream.encode(None))
    return target


def stages_alone(
    bundle: Bundle, video: Path, options: VideoOptions, translator: Translator, folder: Path
) -> dict[str, Cost]:
    """What each stage takes if nothing else runs. Each works on all frames before the next begins."""
    costs: dict[str, Cost] = {}
    target = folder / "alone.mp4"
    report = FilmReport(target, {})

    def measure(stage: str, items: Iterable[Item]) -> list[Item]:
        start, cpu = time.perf_counter(), time.process_time()
        done = list(items)
        spent = time.perf_counter() - start, time.process_time() - cpu
        costs[stage] = Cost(*(round(1000 * seconds / len(done), 4) for seconds in spent))
        return done

    with open_view(video, options) as source:
        geometry = geometry_of(options, source, translator.size)
        style = translator.style(translator.domains[0], seed=0)
        decoded = measure("decode", filter(is_frame, source.read(set())))
        fitted = measure("fit", fit_frames(decoded, source, geometry, report))
        decoded.clear()
        run = measure(
            "run",
            translate_frames(
                fitted, lambda images, times: translator(images, style), options.batch or translator.batch, report
            ),
        )
        fitted.clear()
        if options.composes:
            run = measure("compose", compose_frames(run, composer_for(options), report))

        def encoded() -> Iterable[None]:
            with Sink(target, target.name, geometry.output, source.rate, source.time_base, options) as sink:
                for frame in run[:-1]:
                    sink.write(frame)
                    yield
                sink.write(run[-1])
            yield  # only now it has written everything

        measure("encode", encoded())
    target.unlink()
    assert all(isinstance(frame, RgbFrame) for frame in run)
    return costs


def limit_of(costs: dict[str, Cost], cores: int) -> tuple[str, float]:
    """What limits the rate, and the least milliseconds a frame."""
    slowest = max(costs, key=lambda stage: costs[stage].ms)
    by_cores = sum(cost.cpu_ms for cost in costs.values()) / cores
    return (slowest, costs[slowest].ms) if costs[slowest].ms >= by_cores else ("CPU", by_cores)


def measure_row(
    bundle: Path, layout: Layout, model: tuple[str, int] | None, folder: Path, options: RateOptions
) -> dict[str, Any]:
    """The pipeline and its limit, round by round; `model` is a stand-in, or None for the bundle's own."""
    frames = options.frames // 20 if model is None else options.frames
    video, short = (draw_video(folder / f"{count}.mp4", layout.size, count) for count in (frames, min(frames, _ALONE)))
    opened, target, cores = open_bundle(bundle), folder / "out.mp4", allowed_threads()
    choices: dict[str, Any] = {"domain": opened.manifest.domains[0], "seed": 0, "keep_size": layout.keep_size}
    film = settle(VideoOptions(**choices, backend=options.backend, overwrite=True), target)
    rounds = []
    with ExitStack() as stack:
        if model is not None:
            stack.enter_context(patch.object(Translator, "__call__", stand_in(*model)))
        with Translator(opened, **film.engine) as translator:
            size = *translator.size, 3
            translator(np.zeros((film.batch or translator.batch, *size), np.uint8), translator.style(0, seed=0))
            for _ in range(options.rounds):
                costs = stages_alone(opened, short, film, translator, folder)
                limit, limit_ms = limit_of(costs, cores)
                report = translate_video(bundle, video, target, film, progress=lambda line: None)
                ms = 1000 * report.wall_s / report.frames
                rounds.append({
                    "limit": limit, "limit_ms": round(limit_ms, 3), "ms": round(ms, 3),
                    "kept": round(limit_ms / ms, 3), "cpu_ms": round(1000 * report.cpu_s / report.frames, 3),
                    "alone": {stage: dataclasses.asdict(cost) for stage, cost in costs.items()},
                    "says": statistics_of(report)["limit"],
                })  # fmt: skip
    kept = sorted(one["kept"] for one in rounds)
    return {
        "video": layout.name, "model": options.backend if model is None else f"{model[0]} {model[1]} ms",
        "kept": {"median": statistics.median(kept), "least": kept[0], "greatest": kept[-1]}, "rounds": rounds,
    }  # fmt: skip


def render(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a table."""
    middle = [sorted(row["rounds"], key=lambda one: one["kept"])[len(row["rounds"]) // 2] for row in rows]
    return tabulate(
        [
            [row["video"], row["model"], one["limit"], one["limit_ms"], one["ms"], one["cpu_ms"]]
            + [f"{row['kept'][name]:.0%}" for name in ("median", "least", "greatest")]
            for row, one in zip(rows, middle, strict=True)
        ],
        headers=["video", "model", "limit", "limit ms", "ms", "CPU ms", "kept", "least", "greatest"],
    )


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@options_from(RateOptions)
def video_rate(bundle: Path, **values: Any) -> None:
    """Compare the rate of `starcast video` with the limit that its stages set."""
    options, rows = RateOptions(**values), []
    work = [(layout, model) for layout in LAYOUTS for model in (*STAND_INS, None)]
    with tempfile.TemporaryDirectory() as folder:
        for layout, model in tqdm(work, unit=" rows"):
            rows.append(measure_row(bundle, layout, model, Path(folder), options))
            if options.json is not None:  # after every row, so that an interrupted study leaves those it has
                record = {
                    "question": "which share of the limit does `starcast video` keep, from file to file?",
                    "machine": provenance(threads=allowed_threads(), program=PROGRAM),
                    "bundle": {"name": bundle.resolve().name, "sha256": open_bundle(bundle).sha256},
                    "rows": rows,
                }
                write_result(options.json, record)
    click.echo(render(rows))


if __name__ == "__main__":
    video_rate()
