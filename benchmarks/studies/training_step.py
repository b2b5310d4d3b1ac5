"""How many training steps a second, compared with the same step doing the original's work?

    python -m starcast.benchmarks.studies.training_step -o benchmarks/results/training-step.json

All rows train in one process, each on networks of its own from the same seed, at the demonstration's configuration. A
round lets every row in turn make as many steps as R1 has a period, so a round holds each row's usual mixture; ratios
are paired within a round, as in `measure.py`. R1 at every fourth step is not the original's training: its rows are
compared with an original that leaves out as many.
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
from starcast.benchmarks.demo.run import training_options
from starcast.benchmarks.options import DemoOptions
from starcast.benchmarks.record import provenance, write_result
from starcast.benchmarks.studies.original_step import original_step
from starcast.options import CheckedOptions, options_from
from starcast.runtime.cores import allowed_threads
from starcast.train.families.stargan_v2.batches import Batch
from starcast.train.families.stargan_v2.networks import StarGANv2Config, averaged_copy, build_networks
from starcast.train.families.stargan_v2.options import StarGANv2Options
from starcast.train.families.stargan_v2.step import build_optimizers, training_step

PROGRAM = "python -m starcast.benchmarks.studies.training_step"
DOMAINS = 3
STEPS = 4  # of every row in a round: the longest period of R1 among the rows


@dataclass(frozen=True, kw_only=True)
class StepsOptions(CheckedOptions):
    """How the training step is measured."""

    rounds: int = flags.rounds(15)
    threads: int | None = flags.threads("Default: as many as this process may use.")
    json: Path | None = flags.out(
        None, "a JSON record of the figures, the machine and the versions.", aliases=("--json",)
    )


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """One way to make a step, and the row it is compared with."""

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
    options: StarGANv2Options,
    rows: Sequence[StepRow] = ROWS,
    *,
    rounds: int,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, list[float]]:
    """Seconds a step of every row by its label, one number a round."""
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
    """Each row's steps a second, and how many times as fast it is as the row it is compared with, round by round."""
    found = []
    for row in rows:
        taken = seconds[row.label]
        paired = [theirs / ours for theirs, ours in zip(seconds[row.against], taken, strict=True)]
        found.append(
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
    return found


def _advance(run: Iterator[None]) -> None:
    for _ in range(STEPS):
        next(run)


def _steps(row: StepRow, options: StarGANv2Options) -> Iterator[None]:
    """One training step for every item that is asked for; nothing is built before the first."""
    networks = build_networks(StarGANv2Config.of(options.network, DOMAINS), options.course.seed)
    memory_format = torch.channels_last if row.channels_last else torch.contiguous_format
    networks.to(torch.device("cpu"), memory_format)
    averaged, optimizers = averaged_copy(networks), build_optimizers(networks, options.optimizer)
    loss = dataclasses.replace(options.loss, r1_every=row.r1_every)
    make = training_step if row.lean else original_step
    batch = random_batch(options).to("cpu", memory_format)
    step = 0
    while True:
        make(networks, averaged, optimizers, batch, step, loss, average_decay=options.course.average_decay)
        step += 1
        yield


def random_batch(options: StarGANv2Options, seed: int = 0) -> Batch:
    """Noise of the shape of a batch: what is in the images does not change how long they take."""
    draws = torch.Generator().manual_seed(seed)
    size, count = options.network.image_size, options.data.batch_size
    source, reference, reference2 = torch.rand(3, count, 3, size, size, generator=draws) * 2 - 1
    source_domain, domain = torch.randint(DOMAINS, (2, count), generator=draws)
    latent, latent2 = torch.randn(2, count, options.network.latent_dim, generator=draws)
    return Batch(source, source_domain, reference, reference2, domain, latent, latent2)


@click.command()
@options_from(StepsOptions)
def steps(**values: Any) -> None:
    """Measure the training step beside the same step with the original's work."""
    wanted = StepsOptions(**values)
    options = training_options(DemoOptions())
    if not isinstance(options, StarGANv2Options):
        raise TypeError("the demo trains another family than StarGAN v2, whose step is measured here")
    threads = wanted.threads or allowed_threads()
    torch.set_num_threads(threads)
    with tqdm(desc="measuring", bar_format="{desc} [{elapsed}]") as bar:
        seconds = measure_steps(options, rounds=wanted.rounds, progress=lambda text: bar.set_description_str(text))
    rows = figures(seconds, batch=options.data.batch_size)
    if wanted.json is not None:
        shape = {**dataclasses.asdict(options.network), "batch_size": options.data.batch_size}
        result = {
            "question": "how many training steps a second, beside the original's step in the same round?",
            "machine": provenance(threads=threads, program=PROGRAM),
            "configuration": shape,
            "options": {name: value for name, value in dataclasses.asdict(wanted).items() if name != "json"},
            "rows": rows,
        }
        write_result(wanted.json, result)
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
