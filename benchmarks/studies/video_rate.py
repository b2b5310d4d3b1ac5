"""What do the stages of `starcast video` cost beside the model?

    python -m starcast.benchmarks.studies.video_rate my-model -o benchmarks/results/video-rate.json

A video is translated from file to file: as the model's images, and put back into frames of 848x464 (`--keep-size`). The
model is the bundle's own, and stand-ins that sleep or compute for 1 or 40 ms an image. No pipeline can be faster than
its slowest stage alone, nor than the CPU time of all stages, each alone, over the cores. The larger of the two is the
limit, and a row says which share of it the pipeline keeps. A stand-in that computes keeps one core busy without
Python's lock, as an engine on one thread does.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
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
from starcast.benchmarks.studies.video_limit import limit_of, stages_alone
from starcast.click_options import options_from
from starcast.errors import OptionError, printable
from starcast.options import CheckedOptions, option
from starcast.runtime.bundle import open_bundle
from starcast.runtime.cores import allowed_threads
from starcast.runtime.translator import Translator
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.output.encode import settle
from starcast.runtime.video.statistics import statistics_of
from starcast.runtime.video.translate import translate_video
from starcast.train.creatures.coats import random_coat
from starcast.train.creatures.poses import random_pose
from starcast.train.creatures.video import walk_frames

PROGRAM = "python -m starcast.benchmarks.studies.video_rate"
OWN = "own"
MODELS = ("sleep-1", "compute-1", "sleep-40", "compute-40", OWN)
_STAND_IN = re.compile(r"(sleep|compute)-([0-9]+)")
_ALONE = 120  # frames for the stages alone: all of them are in memory
_ALONE_OWN = 24  # for the bundle's own model, which may be slow
_DRAWN = 100  # different frames
# what must be equal for rows to stand in one record
_SAME = ("bundle", "backend", "seconds")
_SAME_MACHINE = ("processor", "cores", "sources")

Images = NDArray[np.uint8]
Rows = dict[tuple[str, str], dict[str, Any]]  # by video and model
Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class RateOptions(CheckedOptions):
    """How to measure."""

    rounds: int = flags.rounds(1)
    seconds: int = option(20, "How long a row's video takes to translate, about.", minimum=1)
    models: tuple[str, ...] = option(
        MODELS, "Models to measure: own is the bundle's, sleep-1 one that sleeps for 1 ms, compute-1 one that computes."
    )
    backend: str = flags.backend("openvino", "The engine of the bundle's own model.")
    json: Path | None = flags.out(
        None, "a JSON record of the figures, the machine and the versions. Other rows that it has stay.",
        aliases=("--json",),
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        for model in self.models:
            if model != OWN and not _STAND_IN.fullmatch(model):
                raise OptionError(f"--models takes {OWN}, sleep-1, compute-40 and the like, not {printable(model)}")


@dataclass(frozen=True)
class Layout:
    """A video's size (height, width); None: that of the model's images. Otherwise they are put back into it."""

    name: str
    size: tuple[int, int] | None


LAYOUTS = (Layout("the model's size", None), Layout("848x464, --keep-size", (464, 848)))


def stand_in(name: str) -> Callable[..., Images]:
    """The model that MODELS calls so. It returns the images."""
    kind, ms = name.split("-")

    def translate(self: Translator, images: Images, style: object) -> Images:
        seconds = len(images) * int(ms) / 1000
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
        _hash(max(1, int(left * _hashes_a_second() / 2)))  # half: the CPU may have become slower


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


def measure_row(bundle: Path, layout: Layout, model: str, folder: Path, options: RateOptions) -> dict[str, Any]:
    """The pipeline and its limit, round by round."""
    opened, target, cores = open_bundle(bundle), folder / "out.mp4", allowed_threads()
    choices: dict[str, Any] = {"domain": opened.manifest.domains[0], "seed": 0, "keep_size": layout.size is not None}
    film = settle(VideoOptions(**choices, backend=options.backend, overwrite=True), target)
    rounds = []
    with ExitStack() as stack:
        if model != OWN:
            stack.enter_context(patch.object(Translator, "__call__", stand_in(model)))
        translator = stack.enter_context(Translator(opened, **film.engine))
        size = layout.size or translator.size
        translator(np.zeros((1, *translator.size, 3), np.uint8), translator.style(0, seed=0))  # warms up
        short = draw_video(folder / "short.mp4", size, _ALONE_OWN if model == OWN else _ALONE)
        costs = stages_alone(short, film, translator, folder)
        frames = max(_ALONE, round(1000 * options.seconds / limit_of(costs, cores)[1]))
        video = draw_video(folder / "long.mp4", size, frames)
        for number in range(options.rounds):
            costs = stages_alone(short, film, translator, folder) if number else costs
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
        "video": layout.name, "model": model, "frames": frames,
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
    options = RateOptions(**values)
    here = {
        "question": "which share of the limit does `starcast video` keep, from file to file?",
        "machine": provenance(threads=allowed_threads(), program=PROGRAM),
        "bundle": {"name": bundle.resolve().name, "sha256": open_bundle(bundle).sha256},
        "seconds": options.seconds, "backend": options.backend,
    }  # fmt: skip
    rows = read_rows(options.json, here)
    work = [(layout, model) for layout in LAYOUTS for model in options.models]
    for layout, model in tqdm(work, unit=" rows"):
        with tempfile.TemporaryDirectory() as folder:
            rows[layout.name, model] = measure_row(bundle, layout, model, Path(folder), options)
        if options.json is not None:  # after every row, so that an interrupted study leaves those it has
            write_result(options.json, {**here, "rows": in_order(rows)})
    click.echo(render(in_order(rows)))


def read_rows(record: Path | None, here: Mapping[str, Any]) -> Rows:
    """The rows of a record, if they were measured in the same way. Raises OptionError for another kind of file."""
    if record is None or not record.exists():
        return {}
    try:
        earlier = json.loads(record.read_text("utf-8"))
        differing = [name for name in _SAME if earlier[name] != here[name]]
        differing += [name for name in _SAME_MACHINE if earlier["machine"][name] != here["machine"][name]]
        rows = {(row["video"], row["model"]): row for row in earlier["rows"]}
    except (ValueError, TypeError, LookupError) as error:
        raise OptionError(f"{printable(record)} is not a record of this study: choose another -o") from error
    if differing:
        click.echo(f"{printable(record)} differs in {', '.join(differing)}: it starts over")
        return {}
    return rows


def in_order(rows: Rows) -> list[dict[str, Any]]:
    """The rows in the order of LAYOUTS, and there of MODELS; other models follow by name."""
    names = [layout.name for layout in LAYOUTS]
    place = {model: number for number, model in enumerate(MODELS)}
    ordered = sorted(rows, key=lambda key: (names.index(key[0]), place.get(key[1], len(place)), key[1]))
    return [rows[key] for key in ordered]


if __name__ == "__main__":
    video_rate()
