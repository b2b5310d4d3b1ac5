"""How it is measured: every row in a fresh process, all loaded and idle; a driver asks each in turn, round by round.

A round gives one number a row, so each row is paired with eager in the same round: a machine that slows down for a
minute slows both. Quoted are the median of the paired ratios and the least of them. Stored milliseconds of another run
are never compared. On a card a row's number is the median of a window of runs (card_method.py), all of which are kept.
Spin-waiting is off, or idle rows would eat the cores of the one that runs. The order within a round is drawn anew each
time, so that no row always runs after the same one.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.bench.judge import Difference, difference
from starcast.benchmarks.bench.pace import Pace
from starcast.benchmarks.bench.rows import LeftOut, Row
from starcast.benchmarks.bench.worker import Worker, started
from starcast.errors import EngineError

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A row's seconds, wall clock and processor, one number a round; what its pictures are beside the baseline's; the
    most memory its process held, in bytes. On a card also the seconds of every single run, and the parts of one."""

    row: Row
    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]
    difference: Difference
    peak_rss: int | None = None
    samples: tuple[float, ...] = ()
    split: Mapping[str, float | None] | None = None
    steady: bool = True  # whether every warm-up ended in time
    card: Mapping[str, Any] | None = None  # what the card told of itself while the row ran last

    @property
    def median_ms(self) -> float:
        return statistics.median(self.seconds) * 1000

    @property
    def p95_ms(self) -> float:
        return float(np.percentile(self.samples or self.seconds, 95)) * 1000

    @property
    def cpu_ms(self) -> float:
        return statistics.median(self.cpu_seconds) * 1000

    @property
    def images_per_second(self) -> float:
        return self.row.batch / statistics.median(self.seconds)


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times as fast as the baseline, paired round by round."""

    median: float
    least: float
    greatest: float


@dataclass(frozen=True)
class Measurement:
    """The rows that ran, the baseline first, and those that did not."""

    rows: list[Measured]
    left_out: list[LeftOut]
    pictures: NDArray[np.uint8] | None = None  # the baseline's

    @property
    def baseline(self) -> Measured:
        return self.rows[0]


def ratio(row: Measured, baseline: Measured) -> Ratio:
    """The paired ratios baseline / row of the same rounds."""
    paired = [theirs / ours for theirs, ours in zip(baseline.seconds, row.seconds, strict=True)]
    return Ratio(median=statistics.median(paired), least=min(paired), greatest=max(paired))


def measure(
    rows: Sequence[Row], inputs: Path, *, pace: Pace, say: Say = lambda _: None,
    keep: Callable[[Measurement], None] = lambda _: None,
) -> Measurement:  # fmt: skip
    """Time the rows against each other on the pictures in `inputs`; the first is the baseline. `keep` gets what there
    is after each round.

    A row that cannot be opened or that fails on the way is left out with the reason. Raises EngineError when the
    baseline does: nothing could be compared with it.
    """
    entered = time.perf_counter()
    with ExitStack() as stack:
        trials = [_Trial(stack.enter_context(started(row, inputs))) for row in rows]  # they load side by side
        field = _Field(trials)
        field.each("loading", _Trial.look, say)
        begun = time.perf_counter()
        pace = pace.after(begun - entered)
        done, order = 0, random.Random(0)
        while pace.goes_on(done, time.perf_counter() - begun):
            done += 1
            order.shuffle(field.running)
            field.each(f"round {done}", _Trial.time, say)
            if done == 1:
                field.drop(pace.too_slow({trial.row.key: trial.turn for trial in field.running}, rows[0].key))
            keep(field.measurement(trials))
        field.each("reading memory", _Trial.read_memory, say)
    return field.measurement(trials)


def joined(splits: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """The medians of parts over the rounds."""
    return {
        name: None if first is None else statistics.median(float(split[name] or 0) for split in splits)
        for name, first in splits[0].items()
    }


class _Trial:
    """A worker, and what it has given so far."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.row = worker.row
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self.windows: list[dict[str, Any]] = []  # of a card
        self.turn = 0.0  # seconds that the last turn took in all
        self.pictures: NDArray[np.uint8] | None = None
        self.peak_rss: int | None = None

    def look(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "pictures.npy"
            self.worker.ask(f"look {file}")
            self.pictures = np.load(file)

    def time(self) -> None:
        start = time.perf_counter()
        answer = self.worker.ask("time")
        self.turn = time.perf_counter() - start
        self.seconds.append(answer["seconds"])
        self.cpu_seconds.append(answer["cpu_seconds"])
        if "samples" in answer:
            self.windows.append(answer)

    def read_memory(self) -> None:
        self.peak_rss = self.worker.ask("memory")["peak_rss"]

    def measured(self, expected: NDArray[np.uint8]) -> Measured:
        assert self.pictures is not None
        return Measured(
            row=self.row, seconds=tuple(self.seconds), cpu_seconds=tuple(self.cpu_seconds),
            difference=difference(self.pictures, expected), peak_rss=self.peak_rss,
            samples=tuple(sample for window in self.windows for sample in window["samples"]),
            split=joined([window["split"] for window in self.windows]) if self.windows else None,
            card=self.windows[-1]["card"] if self.windows else None,
            steady=all(window["steady"] for window in self.windows),
        )  # fmt: skip


class _Field:
    """The trials that still run; one that fails leaves, and the others go on."""

    def __init__(self, trials: Sequence[_Trial]) -> None:
        self.baseline = trials[0]
        self.running = list(trials)
        self.left_out: list[LeftOut] = []

    def each(self, what: str, act: Callable[[_Trial], None], say: Say) -> None:
        for trial in list(self.running):
            say(f"{what}: {trial.row.name}")
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
                reason = f"takes {trial.turn:.1f} s for two runs, too long for --quick"
                self.left_out.append(LeftOut(name=trial.row.name, reason=reason))
                self.running.remove(trial)
                trial.worker.process.kill()

    def measurement(self, order: Sequence[_Trial]) -> Measurement:
        """What there is by now, in that order."""
        expected = self.baseline.pictures
        assert expected is not None
        measured = [trial.measured(expected) for trial in order if trial in self.running]
        return Measurement(measured, list(self.left_out), expected)
