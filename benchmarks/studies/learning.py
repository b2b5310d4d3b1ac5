"""What does a family of models learn from drawn creatures in 20 minutes on two cores?

    python -m starcast.benchmarks.studies.learning FAMILY -o learning.json

Draws the creatures, measures the time of a step, trains with a recipe of `starcast train`, and judges the result
(`learning_judges.py`). On a busy machine the training takes longer but gives the same networks, so the 20 minutes
apply to the number of steps times the time of a step. Measure that time first with `--time-only`, on an idle machine
or with `--threads 1`: the CPU seconds of a single thread are what a step takes on an idle machine, even if they are
measured on a busy one. With `--folder`, an interrupted study continues where it stopped.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import torch
from PIL import Image
from tqdm import tqdm

from starcast import flags
from starcast.atomic import atomic_path
from starcast.benchmarks.quality.creatures import Bar
from starcast.benchmarks.record import provenance, write_result
from starcast.benchmarks.studies.learning_judges import Judgement, Judges, judge_labels, judge_samples, train_judges
from starcast.click_options import options_from
from starcast.errors import OptionError, printable
from starcast.options import CheckedOptions, as_json, option, replace_options
from starcast.runtime.cores import allowed_threads
from starcast.train.creatures.dataset import make_dataset
from starcast.train.creatures.files import FACTS
from starcast.train.creatures.options import CreatureOptions
from starcast.train.families import FAMILIES, family, read_recipe
from starcast.train.options import TrainOptions
from starcast.train.run import train
from starcast.train.run_folder import RunFolder
from starcast.train.state import find_start

PROGRAM = "python -m starcast.benchmarks.studies.learning"
CREATURES: dict[str, Any] = {"train_images": 2000, "val_images": 500}  # of each domain
PERIOD = 16  # steps: the longest period of a penalty in the recipes
IN_TIME = Bar("the training's time in minutes", most=20)

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class LearningOptions(CheckedOptions):
    """What to train on, for how long, and where to keep it."""

    creatures: CreatureOptions = field(default_factory=lambda: CreatureOptions(**CREATURES, video_seconds=1))
    recipe: str = option("small", "Recipe of `starcast train` to train with.", metavar="NAME")
    steps: int | None = option(None, "Training steps. Default: the recipe's.", minimum=1)
    rounds: int = option(8, f"Number of rounds in which a step is timed; each has {PERIOD} steps.", minimum=1)
    threads: int | None = flags.threads("Default: as many as this process may use.")
    folder: Path | None = option(
        None, "Folder for the creatures, the run and the time of a step. An interrupted study continues there. "
        "Default: a temporary folder."
    )  # fmt: skip
    time_only: bool = option(False, "Only time a step, and store the result in the folder.")
    json: Path | None = flags.out(
        None, "a JSON record of the figures, the machine and the versions, with a sheet of images (.png) beside it."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.time_only and self.folder is None:
            raise OptionError("--time-only has no folder to write to: give one with --folder")


def training_options(family_name: str, options: LearningOptions) -> TrainOptions:
    """The recipe's options, for the size that it trains at."""
    recipe = read_recipe(options.recipe, family_name, device="cpu", workers=0)
    return recipe if options.steps is None else replace_options(recipe, steps=options.steps)


def draw_creatures(folder: Path, image_size: int, options: LearningOptions) -> Path:
    """The set of creatures to train on, drawn unless it is there."""
    if not (folder / FACTS).exists():
        make_dataset(folder, replace(options.creatures, image_size=image_size))
    return folder


def time_steps(data: Path, options: TrainOptions, rounds: int) -> list[tuple[float, float]]:
    """Mean wall and CPU seconds of a step in each round of PERIOD steps, after one round to warm up."""
    ends: list[tuple[float, float]] = []
    steps = (1 + rounds) * PERIOD
    brief = replace_options(options, steps=steps, sample_every=0, snapshot_every=0, save_every=steps)
    with tempfile.TemporaryDirectory() as folder:
        train(
            data, Path(folder) / "run", brief, bar=False, progress=lambda _: None,
            on_step=lambda step, losses: ends.append((time.perf_counter(), time.process_time())),
        )  # fmt: skip
    marks = ends[PERIOD - 1 :: PERIOD]
    rounds_of = itertools.pairwise(marks)
    return [((end[0] - start[0]) / PERIOD, (end[1] - start[1]) / PERIOD) for start, end in rounds_of]


def train_creatures(data: Path, run: Path, options: TrainOptions, progress: Progress) -> Path:
    """Train, or continue an interrupted run. Raises OptionError if the run has other options."""
    resuming = RunFolder(run).has_run()
    if resuming and find_start(RunFolder(run), progress).options != options:
        raise OptionError(f"{printable(run)} was trained with other options: give them again, or another --folder")

    def show(step: int, losses: Mapping[str, float]) -> None:
        shown = ", ".join(f"{name} {value:.2f}" for name, value in losses.items())
        progress(f"step {step} of {options.course.steps}: {shown}")

    return train(data, run, options, resume=resuming, bar=False, on_step=show, progress=progress)


def study(family_name: str, options: LearningOptions, folder: Path, threads: int, progress: Progress) -> dict[str, Any]:
    """Draw, time, train and judge, in `folder`. Returns the record, with the judgement's sheet as `sheet`."""
    torch.set_num_threads(threads)
    wanted = training_options(family_name, options)
    progress("drawing the creatures")
    size = wanted.network.image_size
    data = draw_creatures(folder / "data", size, options)
    judge = judge_for(family_name, data, wanted)
    step_time = _step_time(folder / "step-time.json", data, wanted, options.rounds, threads, progress)
    if options.time_only:
        return {"step_time": step_time}
    checkpoint = train_creatures(data, folder / "run", wanted, progress)
    progress("judging")
    judgement = judge(checkpoint, data, train_judges(data))
    minutes = round(wanted.course.steps * step_time["median_s"] / 60, 2)
    late = IN_TIME.missed_by(minutes)
    return {
        "question": f"what does {family_name} learn of drawn creatures with the recipe {options.recipe!r}?",
        "machine": provenance(threads=threads, program=PROGRAM),
        "options": {"recipe": options.recipe, "creatures": as_json(replace(options.creatures, image_size=size))},
        "training": as_json(wanted),
        "step_time": step_time,
        "minutes": minutes,
        "figures": judgement.figures,
        "missed": judgement.missed + ([] if late is None else [late]),
        "sheet": judgement.sheet,
    }


def judge_for(family_name: str, data: Path, options: TrainOptions) -> Callable[[Path, Path, Judges], Judgement]:
    """How a family's models are judged. Raises OptionError for one that takes styles from references, too."""
    kind = family(family_name)
    if not kind.scan(data, options).has_domains:
        return judge_samples
    if kind.averaged == ("generator",):  # no network makes styles
        return judge_labels
    raise OptionError(f"{family_name} takes styles from references: use `starcast demo`, which judges those")


def _step_time(
    file: Path, data: Path, options: TrainOptions, rounds: int, threads: int, progress: Progress
) -> dict[str, Any]:
    """The time of a step: from `file` if that has the same options, otherwise measured and written there."""
    measured_for = as_json(replace_options(options, steps=1))
    if file.exists():
        earlier: dict[str, Any] = json.loads(file.read_text("utf-8"))
        if earlier["options"] == measured_for:
            return dict(earlier["step_time"])
    progress("timing a step")
    wall, processor = zip(*time_steps(data, options, rounds), strict=True)
    seconds = processor if threads == 1 else wall
    machine = provenance(threads=threads, program=PROGRAM)
    step_time = {
        "threads": threads,
        "median_s": round(statistics.median(seconds), 5),
        "least_s": round(min(seconds), 5),
        "greatest_s": round(max(seconds), 5),
        "of": "processor seconds" if threads == 1 else "seconds",
        "median_wall_s": round(statistics.median(wall), 5),
        "load": machine["load"],
        "commit": machine["commit"],
    }
    write_result(file, {"options": measured_for, "step_time": step_time})
    return step_time


@click.command()
@click.argument("family_name", metavar="FAMILY", type=click.Choice(list(FAMILIES)))
@options_from(CreatureOptions, only=tuple(CREATURES), **CREATURES)
@options_from(LearningOptions)
def learning(family_name: str, **values: Any) -> None:
    """Train FAMILY on drawn creatures and judge the result. The exit status is 1 if a required figure is missed."""
    creatures = CreatureOptions(**{name: values.pop(name) for name in CREATURES}, video_seconds=1)
    options = LearningOptions(creatures=creatures, **values)
    threads = options.threads or allowed_threads()
    with (
        tempfile.TemporaryDirectory() as temporary,
        tqdm(desc="preparing", bar_format="{desc} [{elapsed}]", disable=None) as bar,
    ):
        record = study(family_name, options, options.folder or Path(temporary), threads, bar.set_description_str)
    sheet = record.pop("sheet", None)
    if options.json is not None and sheet is not None:
        write_result(options.json, record)
        _write_sheet(options.json.with_suffix(".png"), sheet)
    shown = record if options.time_only else {name: record[name] for name in ("minutes", "figures", "missed")}
    click.echo(json.dumps(shown, indent=2))
    sys.exit(1 if record.get("missed") else 0)


def _write_sheet(path: Path, pixels: torch.Tensor) -> None:
    with atomic_path(path) as partial:
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(partial, format="PNG", optimize=True)


if __name__ == "__main__":
    learning()
