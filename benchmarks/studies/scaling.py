"""How the cost grows with the size of the pictures, the batch and the threads, beside the arithmetic that it takes.

    python -m starcast.benchmarks.studies.scaling my-model --json benchmarks/results/scaling.json

Each setting is measured as `starcast bench` does it, with eager PyTorch in the same rounds. A row's rate, its FLOP by
its seconds, stands beside the best rate that one convolution alone reaches on its engine with as many threads.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import onnx_ir as ir
from tqdm import tqdm

from starcast.benchmarks.bench.cpu import Cpu
from starcast.benchmarks.bench.inputs import parse_size, size_text
from starcast.benchmarks.bench.peers import plain_graph
from starcast.benchmarks.bench.rows import Row
from starcast.benchmarks.bench.run import measure_subject
from starcast.benchmarks.bench.subject import Subject, open_subject
from starcast.benchmarks.bench.table import rows_json
from starcast.benchmarks.options import BenchOptions
from starcast.benchmarks.record import provenance, write_result
from starcast.benchmarks.studies.convolution import PRECISIONS, Rate, rate_in_own_process
from starcast.benchmarks.studies.scaling_chart import draw_scaling
from starcast.benchmarks.studies.scaling_table import lines_of, with_arithmetic
from starcast.errors import EngineError, OptionError
from starcast.export.graphs.flop import count_flop
from starcast.options import CheckedOptions, option, options_from
from starcast.runtime.cores import allowed_threads
from starcast.runtime.machine import processor

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ScalingOptions(CheckedOptions):
    """What is varied, one at a time; the others stay at the training's size, one picture, and the most threads."""

    checkpoint: Path | None = option(None, "What BUNDLE was exported from; without it, it is looked for.")
    config: str | None = option(None, "Measure random weights at full size, as `starcast bench`.", choices=("afhq",))
    sizes: tuple[str, ...] = option(("128", "256", "512", "1024"), "Sides of the pictures, in pixels.")
    batches: tuple[str, ...] = option(("1", "2", "4", "8", "16"), "Pictures in a batch.")
    thread_counts: tuple[str, ...] = option((), "Threads; without it from 1 to as many as this process may use.")
    rows: tuple[str, ...] = option(("plain-*", "ours-*"), "Rows, as `starcast bench` names them.")
    rounds: int = option(3, "How often each row is asked in turn, at each setting.", minimum=1)
    json: Path | None = option(None, "Write the figures here, and the plots as PNG beside it.")


@dataclass(frozen=True, order=True)
class Setting:
    """A picture's size (height, width), the batch and the threads."""

    size: tuple[int, int]
    batch: int
    threads: int


def axes_of(options: ScalingOptions, size: tuple[int, int], threads: int) -> dict[str, list[Setting]]:
    """The settings along each axis, around the one with this size, one picture and all threads."""
    counts = _numbers("--thread-counts", options.thread_counts) or list(range(1, threads + 1))
    return {
        "size": [Setting(parse_size(text), 1, threads) for text in options.sizes],
        "batch": [Setting(size, batch, threads) for batch in _numbers("--batches", options.batches)],
        "threads": [Setting(size, 1, count) for count in counts],
    }


def measure_scaling(subject: Subject, options: ScalingOptions, say: Say = lambda _: None) -> dict[str, Any]:
    """Every setting once, and which of them lie on which axis."""
    source = subject.bundle.manifest.source
    if source is None:
        raise OptionError(f"{subject.bundle.path} translates no pictures: there is nothing to scale")
    threads = allowed_threads()
    axes = axes_of(options, (source.height, source.width), threads)
    settings = sorted({setting for along in axes.values() for setting in along})
    flop = _Flop(subject, (source.height, source.width))
    rates = _Rates(say)
    found, left_out = [], []
    for number, setting in enumerate(settings):
        where = f"{size_text(setting.size)}, batch {setting.batch}, {setting.threads} threads"
        told = f"{number + 1} of {len(settings)} ({where})"
        result = measure_subject(
            subject, _bench(setting, options), Cpu(), progress=lambda text, told=told: say(f"{told}: {text}")  # type: ignore[misc]
        )  # fmt: skip
        left_out += [{"setting": where, **dataclasses.asdict(row)} for row in result.table.left_out]
        for row, facts in zip(result.table.rows, rows_json(result), strict=True):
            rates.add(row.row)
            found.append((facts, flop.of(row.row)))
    rates.again()
    return {
        "question": "how does the cost grow with size, batch and threads, beside the FLOP and the engine's own rate?",
        "machine": {**provenance(threads=threads), "command": _command()},
        "axes": {name: [_as_json(setting) for setting in along] for name, along in axes.items()},
        "convolution_rates": [
            {"engine": engine, "precision": precision, "threads": count, **dataclasses.asdict(rate)}
            for (engine, precision, count), rate in rates.best.items()
        ],
        "rows": [with_arithmetic(row, flop_a_picture, rates.best) for row, flop_a_picture in found],
        "left_out": left_out,
    }


class _Flop:
    """FLOP a picture of each row's graph: what PyTorch and the plain export do, or what the manifest counts."""

    def __init__(self, subject: Subject, trained: tuple[int, int]) -> None:
        self._plain = ir.load(plain_graph(subject))
        self._variants = {variant.file: variant.flop for variant in subject.bundle.manifest.variants}
        self._trained = trained

    def of(self, row: Row) -> int:
        height, width = row.size
        if row.variant is None:
            return count_flop(self._plain, {"batch": 1, "styles": 1, "height": height, "width": width})
        # within 1 % of a count at that size, which the borders of the 9-tap forms make up
        return self._variants[row.variant] * height * width // (self._trained[0] * self._trained[1])


class _Rates:
    """The best rate of every engine, precision and number of threads among the rows, where there is one."""

    def __init__(self, say: Say) -> None:
        self.best: dict[tuple[str, str, int], Rate] = {}
        self._say = say

    def add(self, row: Row) -> None:
        key = (row.engine, row.precision, row.threads)
        if key not in self.best and row.precision in PRECISIONS:
            self._measure(key)

    def again(self) -> None:
        """Once more: a machine that was slow the first time must not flatter the networks."""
        for key in list(self.best):
            self._measure(key)

    def _measure(self, key: tuple[str, str, int]) -> None:
        self._say(f"one convolution on {key[0]}, {key[1]}")
        try:
            rate = rate_in_own_process(*key)
        except EngineError as error:
            self._say(f"no rate of {key[0]}: {error}")
            return
        known = self.best.get(key, rate)
        self.best[key] = max(known, rate, key=lambda rate: rate.gflop_per_s)


def _bench(setting: Setting, options: ScalingOptions) -> BenchOptions:
    return BenchOptions(
        rows=options.rows, rounds=options.rounds, batch=setting.batch, threads=setting.threads,
        size=size_text(setting.size),
    )  # fmt: skip


def _numbers(flag: str, texts: Sequence[str]) -> list[int]:
    if not all(text.isascii() and text.isdecimal() and int(text) for text in texts):
        raise OptionError(f"{flag} is {','.join(texts)}: give whole numbers of at least 1")
    return [int(text) for text in texts]


def _as_json(setting: Setting) -> dict[str, Any]:
    return {"size": list(setting.size), "batch": setting.batch, "threads": setting.threads}


def _command() -> str:
    return " ".join(["python -m starcast.benchmarks.studies.scaling", *sys.argv[1:]])


@click.command()
@click.argument("bundle", type=click.Path(file_okay=False, path_type=Path), required=False)
@options_from(ScalingOptions)
def scaling(bundle: Path | None, **values: Any) -> None:
    """Measure cost against size, batch and threads."""
    options = ScalingOptions(**values)
    with tqdm(desc="preparing", bar_format="{desc} [{elapsed}]", disable=None) as bar:

        def say(text: str) -> None:
            bar.set_description_str(text)

        opening = BenchOptions(checkpoint=options.checkpoint, config=options.config)
        with open_subject(bundle, opening, Cpu(), say) as subject:
            result = measure_scaling(subject, options, say)
    for line in lines_of(result):
        click.echo(line)
    if options.json is not None:
        write_result(options.json, result)
        here = processor()
        title = f"{here.name} ({', '.join(here.instruction_sets)})"
        click.echo(f"written: {options.json}, {draw_scaling(options.json.with_suffix('.png'), result, title)}")


if __name__ == "__main__":
    scaling()
