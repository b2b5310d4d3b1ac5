"""How many training steps per second, compared with the same step doing the original's work?

    python -m starcast.benchmarks.studies.training_step -o benchmarks/results/training-step.json

All rows train in one process, each on separate networks from the same seed, in the demo's configuration. In a round
each row in turn makes four steps, the longest period of R1, so that a round has each row's usual share of R1. Ratios
are paired within a round. R1 at every fourth step is not the original's training: rows with it are compared with an
original that applies R1 as rarely.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from tabulate import tabulate
from tqdm import tqdm

from starcast import flags
from starcast.benchmarks.bench.random_weights import draw_batch
from starcast.benchmarks.demo.run import training_options
from starcast.benchmarks.options import DemoOptions
from starcast.benchmarks.record import provenance, write_result
from starcast.benchmarks.studies.original_step import original_step
from starcast.click_options import options_from
from starcast.options import CheckedOptions, replace_options
from starcast.runtime.cores import allowed_threads
from starcast.train.families import family
from starcast.train.options import TrainOptions

PROGRAM = "python -m starcast.benchmarks.studies.training_step"
DOMAINS = 3
STEPS = 4  # of each row in a round


@dataclass(frozen=True, kw_only=True)
class StepsOptions(CheckedOptions):
    """How to measure the training step."""

    rounds: int = flags.rounds(15)
    threads: int | None = flags.threads("Default: as many as this process may use.")
    json: Path | None = flags.out(
        None, "a JSON record of the figures, the machine and the versions.", aliases=("--json",)
    )


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """One implementation of the step, and the row it is compared with."""

    label: str
    lean: bool
    r1_every: int = 1
    channels_last: bool = False  # as `starcast train` lays images out
    against: str = "original"


ROWS = (
    StepRow(label="original", lean=False),
    StepRow(label="starcast, images laid out alike", lean=True),
    StepRow(label="starcast", lean=True, channels_last=True),
    StepRow(label="original, R1 every 4", lean=False, r1_every=4, against="original, R1 every 4"),
    StepRow(label="starcast, R1 every 4", lean=True, r1_every=4, channels_last=True, against="original, R1 every 4"),
)


def measure_steps(
    options: TrainOptions,
    rows: Sequence[StepRow] = ROWS,
    *,
    rounds: int,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, list[float]]:
    """Seconds per step by row label, one number per round."""
    runs = {row.label: _steps(row, options) for row in rows}
    for label, run in runs.items():
        progress(f"warming up {label}")
        _advance(run)
    seconds: dict[str, list[float]] = {row.label: [] for row in rows}
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        for label, run in runs.items():
            start = time.perf_counter()
            _advance(run)
            seconds[label].append((time.perf_counter() - start) / STEPS)
    return seconds


def figures(
    seconds: Mapping[str, Sequence[float]], rows: Sequence[StepRow] = ROWS, *, batch: int
) -> list[dict[str, Any]]:
    """Each row's steps a second, and its speed relative to the row it is compared with, paired round by round."""
    result = []
    for row in rows:
        taken = seconds[row.label]
        paired = [theirs / ours for theirs, ours in zip(seconds[row.against], taken, strict=True)]
        result.append(
            {
                "row": row.label,
                "r1_every": row.r1_every,
                "channels_last": row.channels_last,
                "seconds_a_step": [round(value, 6) for value in taken],
                "steps_per_second": round(1 / statistics.median(taken), 3),
                "images_per_second": round(batch / statistics.median(taken), 2),
                "against": row.against,
                "times_as_fast": {
                    "median": round(statistics.median(paired), 3),
                    "least": round(min(paired), 3),
                    "greatest": round(max(paired), 3),
                },
            }
        )
    return result


def _advance(run: Iterator[None]) -> None:
    for _ in range(STEPS):
        next(run)


def _steps(row: StepRow, options: TrainOptions) -> Iterator[None]:
    """Train one step for each item; nothing is built before the first."""
    kind, options = family(options.family), replace_options(options, r1_every=row.r1_every)
    layout = torch.channels_last if row.channels_last else torch.contiguous_format
    networks: Any = kind.build_networks(kind.configure(options, DOMAINS), options.course.seed)
    networks.to(torch.device("cpu"), layout)
    averaged, optimizers = kind.averaged_copy(networks), kind.build_optimizers(networks, options)
    make: Callable[..., object] = kind.training_step if row.lean else original_step
    batch = draw_batch(options, DOMAINS).to_step(torch.device("cpu"), layout)
    step = 0
    while True:
        make(networks, averaged, optimizers, batch, step, options, autocast=False)
        step += 1
        yield


@click.command()
@options_from(StepsOptions)
def steps(**values: Any) -> None:
    """Time the training step beside the same step doing the original's work."""
    wanted = StepsOptions(**values)
    options = training_options(DemoOptions())
    threads = wanted.threads or allowed_threads()
    torch.set_num_threads(threads)
    with tqdm(desc="measuring", bar_format="{desc} [{elapsed}]") as bar:
        seconds = measure_steps(options, rounds=wanted.rounds, progress=lambda text: bar.set_description_str(text))
    rows = figures(seconds, batch=options.data.batch_size)
    if wanted.json is not None:
        shape = {**dataclasses.asdict(options.network), "batch_size": options.data.batch_size}
        record = {
            "question": "how many training steps per second, beside the original's step in the same round?",
            "machine": provenance(threads=threads, program=PROGRAM),
            "configuration": shape,
            "options": {name: value for name, value in dataclasses.asdict(wanted).items() if name != "json"},
            "rows": rows,
        }
        write_result(wanted.json, record)
    table = [
        [
            row["row"],
            row["steps_per_second"],
            row["against"],
            *(row["times_as_fast"][name] for name in ("median", "least")),
        ]
        for row in rows
    ]
    click.echo(tabulate(table, headers=["", "steps/s", "against", "times as fast", "least"], disable_numparse=True))


if __name__ == "__main__":
    steps()
