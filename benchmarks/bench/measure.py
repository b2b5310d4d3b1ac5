"""Measure rows against each other: each loads in a fresh process, then all take turns, round by round.

A round gives one number per row, so each row is paired with eager in the same round: a machine that slows down for a
minute slows both. We quote the median and the least of the paired ratios, never milliseconds from another run. A row's
number is the median of its turn's samples (method.py). Spin-waiting is off, because idle rows would take cores from the
one that runs. Each round has a new random order, so that no row always runs after the same one.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.bench.method import Pace
from starcast.benchmarks.bench.result import BatchFigure, Measured, Measurement, difference, fault
from starcast.benchmarks.bench.rows import LeftOut, Row
from starcast.benchmarks.bench.timing import Turn
from starcast.benchmarks.bench.worker import Worker, start_worker
from starcast.errors import EngineError

Progress = Callable[[str], None]


def measure_rows(
    rows: Sequence[Row], inputs: Path, *, pace: Pace, progress: Progress = lambda _: None,
    keep: Callable[[Measurement], None] = lambda _: None,
) -> Measurement:  # fmt: skip
    """Time the rows against each other on what `inputs` holds; the first is the baseline. `keep` is called
    after each round with what has been measured so far.

    A row that cannot be opened or that fails later is left out with the reason. Raises EngineError if the baseline
    fails: nothing could be compared with it.
    """
    start = time.perf_counter()
    with ExitStack() as stack:
        trials = [_Trial(stack.enter_context(start_worker(row, inputs))) for row in rows]  # they load side by side
        field = _Field(trials)
        field.each("loading", _Trial.look, progress)
        loaded = time.perf_counter()
        pace = pace.after(loaded - start)
        done, order = 0, random.Random(0)
        while pace.goes_on(done, time.perf_counter() - loaded):
            done += 1
            order.shuffle(field.running)
            field.each(f"round {done}", _Trial.take_turn, progress)
            if done == 1:
                field.drop(pace.too_slow({trial.row.key: trial.turn_s for trial in field.running}, rows[0].key))
            keep(field.measurement(trials))
        field.each("reading memory", _Trial.read_memory, progress)
    return field.measurement(trials)


class _Trial:
    """A worker, and what it has answered so far."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.row = worker.row
        self.turns: list[Turn] = []
        self.turn_s = 0.0  # of the last turn, including its warm-up
        self.images: NDArray[np.uint8] | None = None
        self.peak_rss: int | None = None

    def look(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "images.npy"
            self.worker.ask(f"look {file}")
            self.images = np.load(file)

    def take_turn(self) -> None:
        start = time.perf_counter()
        self.turns.append(Turn(**self.worker.ask("time")))
        self.turn_s = time.perf_counter() - start

    def read_memory(self) -> None:
        self.peak_rss = self.worker.ask("memory")["peak_rss"]

    def result(self, expected: NDArray[np.uint8]) -> Measured:
        assert self.images is not None
        return Measured(self.row, tuple(self.turns), difference(self.images, expected), self.peak_rss)


class _Field:
    """The trials that are still running. One that fails is removed, and the others go on."""

    def __init__(self, trials: Sequence[_Trial]) -> None:
        self.baseline = trials[0]
        self.running = list(trials)
        self.left_out: list[LeftOut] = []

    def each(self, stage: str, act: Callable[[_Trial], None], progress: Progress) -> None:
        for trial in list(self.running):
            progress(f"{stage}: {trial.row.name}")
            try:
                act(trial)
            except EngineError as error:
                if trial is self.baseline:
                    raise EngineError(
                        f"{trial.row.name} cannot be measured ({error}): nothing to compare with"
                    ) from error
                self.left_out.append(LeftOut(name=trial.row.name, reason=str(error)))
                self.running.remove(trial)

    def drop(self, keys: Sequence[str]) -> None:
        for trial in list(self.running):
            if trial.row.key in keys:
                reason = f"takes {trial.turn_s:.1f} s for two runs, too long for --quick"
                self.left_out.append(LeftOut(name=trial.row.name, reason=reason))
                self.running.remove(trial)
                trial.worker.process.kill()

    def measurement(self, order: Sequence[_Trial]) -> Measurement:
        """What has been measured so far, its rows in this order."""
        expected = self.baseline.images
        assert expected is not None
        measured = [trial.result(expected) for trial in order if trial in self.running]
        return Measurement(measured, list(self.left_out), expected)


def compiled_last(rows: Sequence[Measured]) -> list[Row]:
    """The rows in the order to measure them: rows that compile for each batch size come last."""
    return sorted((row.row for row in rows), key=lambda row: row.form == "compiled")


def measure_throughput(
    row: Row, inputs: Path, batches: Sequence[int], expected: NDArray[np.uint8],
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[BatchFigure]:  # fmt: skip
    """Measure a row at each batch size. An engine's error ends the figures: larger batches would fail as well."""
    with tempfile.TemporaryDirectory() as folder, start_worker(row, inputs) as worker:
        file = Path(folder) / "images.npy"
        for batch in batches:
            progress(f"batches of {batch}: {row.name}")
            try:
                turn = Turn(**worker.ask(f"batch {batch} {file}"))
            except EngineError as error:
                yield BatchFigure(batch, reason=str(error))
                return
            images = np.load(file)
            reason = fault(row, difference(images, expected[: len(images)]))
            if reason is not None and row.ours:
                yield BatchFigure(batch, reason=reason)
                continue
            yield BatchFigure(batch, turn)
