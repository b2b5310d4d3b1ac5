"""How do the time and the FLOP per second change with image size, batch and threads?

    python -m starcast.benchmarks.studies.scaling my-model -o benchmarks/results/scaling.json

Each setting is measured as `starcast bench` does it, with eager PyTorch in the same rounds. A row's rate (its FLOP per
second) is compared with the best rate of a single convolution on its engine with as many threads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from starcast import flags
from starcast.benchmarks.bench.cpu import Cpu
from starcast.benchmarks.bench.inputs import parse_counts, parse_size, size_text
from starcast.benchmarks.bench.report import rows_json
from starcast.benchmarks.bench.rows import Row
from starcast.benchmarks.bench.run import measure_subject
from starcast.benchmarks.bench.subject import Subject, open_subject
from starcast.benchmarks.options import BenchOptions
from starcast.benchmarks.record import provenance, write_result
from starcast.benchmarks.studies.convolution import PRECISIONS, Rate, measure_rate_apart
from starcast.benchmarks.studies.scaling_report import draw_scaling, lines_of, with_arithmetic
from starcast.click_options import options_from
from starcast.errors import EngineError, OptionError
from starcast.options import CheckedOptions, from_flat, option
from starcast.runtime.cores import allowed_threads
from starcast.runtime.machine import processor

Progress = Callable[[str], None]

PROGRAM = "python -m starcast.benchmarks.studies.scaling"
SHARED = ("checkpoint", "config", "rows", "rounds")  # options shared with `starcast bench`


@dataclass(frozen=True, kw_only=True)
class ScalingOptions(CheckedOptions):
    """What to vary, one at a time; the others stay at the training size, one image and all threads."""

    bench: BenchOptions = field(default_factory=BenchOptions)  # for every setting, except what is varied
    sizes: tuple[str, ...] = option(("128", "256", "512", "1024"), "Sizes of the images, each WIDTHxHEIGHT or a side.")
    batches: tuple[str, ...] = option(("1", "2", "4", "8", "16"), "Images per batch.")
    thread_counts: tuple[str, ...] = option((), "CPU threads; default: from 1 to as many as this process may use.")
    json: Path | None = flags.out(None, "a JSON record, with a plot (.png) beside it.", aliases=("--json",))


@dataclass(frozen=True, order=True)
class Setting:
    """The images' size (height, width), the batch and the threads."""

    size: tuple[int, int]
    batch: int
    threads: int


def axes_of(options: ScalingOptions, size: tuple[int, int], threads: int) -> dict[str, list[Setting]]:
    """The settings along each axis; the other axes stay at this size, one image and all threads."""
    counts = parse_counts("--thread-counts", options.thread_counts) or list(range(1, threads + 1))
    return {
        "size": [Setting(parse_size(text), 1, threads) for text in options.sizes],
        "batch": [Setting(size, batch, threads) for batch in parse_counts("--batches", options.batches)],
        "threads": [Setting(size, 1, count) for count in counts],
    }


def measure_scaling(subject: Subject, options: ScalingOptions, progress: Progress = lambda _: None) -> dict[str, Any]:
    """Measure every setting once, and record which of them lie on which axis."""
    source = subject.bundle.manifest.source
    if source is None:
        raise OptionError(f"{subject.bundle.path} translates no images: there is nothing to scale")
    threads = allowed_threads()
    axes = axes_of(options, (source.height, source.width), threads)
    settings = sorted({setting for along in axes.values() for setting in along})
    rates = _Rates(progress)
    rows, left_out = [], []
    for number, setting in enumerate(settings):
        where = f"{size_text(setting.size)}, batch {setting.batch}, {setting.threads} threads"
        place = f"{number + 1} of {len(settings)} ({where})"
        result = measure_subject(
            subject, _bench(setting, options), Cpu(), progress=lambda text, place=place: progress(f"{place}: {text}")  # type: ignore[misc]
        )  # fmt: skip
        assert result.work is not None
        flop = result.work.flop
        left_out += [{"setting": where, **dataclasses.asdict(row)} for row in result.table.left_out]
        for row, facts in zip(result.table.rows, rows_json(result), strict=True):
            rates.add(row.row)
            rows.append((facts, flop[row.row.variant]))
    rates.again()
    return {
        "question": "how does the cost grow with size, batch and threads, relative to FLOP and the engine's best rate?",
        "machine": provenance(threads=threads, program=PROGRAM),
        "axes": {name: [_as_json(setting) for setting in along] for name, along in axes.items()},
        "convolution_rates": [
            {"engine": engine, "precision": precision, "threads": count, **dataclasses.asdict(rate)}
            for (engine, precision, count), rate in rates.best.items()
        ],
        "rows": [with_arithmetic(row, flop, rates.best) for row, flop in rows],
        "left_out": left_out,
    }


class _Rates:
    """The best convolution rate for every engine, precision and thread count among the rows, where known."""

    def __init__(self, progress: Progress) -> None:
        self.best: dict[tuple[str, str, int], Rate] = {}
        self._progress = progress

    def add(self, row: Row) -> None:
        key = (row.engine, row.precision, row.setting.threads)
        if key not in self.best and row.precision in PRECISIONS:
            self._measure(key)

    def again(self) -> None:
        """Measure once more: rates from a machine that was slow at first would make the networks look better."""
        for key in list(self.best):
            self._measure(key)

    def _measure(self, key: tuple[str, str, int]) -> None:
        self._progress(f"one convolution on {key[0]}, {key[1]}")
        try:
            rate = measure_rate_apart(*key)
        except EngineError as error:
            self._progress(f"no rate of {key[0]}: {error}")
            return
        known = self.best.get(key, rate)
        self.best[key] = max(known, rate, key=lambda rate: rate.gflop_per_s)


def _bench(setting: Setting, options: ScalingOptions) -> BenchOptions:
    size = size_text(setting.size)
    return replace(options.bench, batch=setting.batch, threads=setting.threads, size=size)


def _as_json(setting: Setting) -> dict[str, Any]:
    return {"size": list(setting.size), "batch": setting.batch, "threads": setting.threads}


@click.command()
@click.argument("bundle", type=click.Path(file_okay=False, path_type=Path), required=False)
@options_from(BenchOptions, only=SHARED, rows=("plain-*", "ours-*"), rounds=3)
@options_from(ScalingOptions)
def scaling(bundle: Path | None, **values: Any) -> None:
    """Measure cost against size, batch and threads."""
    bench = from_flat(BenchOptions, {name: values.pop(name) for name in SHARED})
    options = ScalingOptions(bench=bench, **values)
    with tqdm(desc="preparing", bar_format="{desc} [{elapsed}]", disable=None) as bar:

        def progress(text: str) -> None:
            bar.set_description_str(text)

        with open_subject(bundle, options.bench.subject, Cpu(), progress) as subject:
            result = measure_scaling(subject, options, progress)
    for line in lines_of(result):
        click.echo(line)
    if options.json is not None:
        write_result(options.json, result)
        here = processor()
        title = f"{here.name} ({', '.join(here.instruction_sets)})"
        click.echo(f"written: {options.json}, {draw_scaling(options.json.with_suffix('.png'), result, title)}")


if __name__ == "__main__":
    scaling()
