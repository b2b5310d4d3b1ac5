"""How it is measured: every row in a fresh process, all loaded and idle; a driver asks each in turn, round by round.

A round gives one number a row, so each row is paired with eager in the same round: a machine that slows down for a
minute slows both. Quoted are the median of the paired ratios and the least of them. Stored milliseconds of another run
are never compared. Spin-waiting is off, or idle rows would eat the cores of the one that runs.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.rows import Row, open_row
from starcast.errors import EngineError

QUIET = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Seconds of every round of one row, and how far its pictures are from the baseline's (grey levels)."""

    row: Row
    seconds: tuple[float, ...]
    levels: int
    share_equal: float

    @property
    def median_ms(self) -> float:
        return statistics.median(self.seconds) * 1000

    @property
    def images_per_second(self) -> float:
        return self.row.batch / statistics.median(self.seconds)


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times as fast as the baseline, paired round by round."""

    median: float
    least: float
    greatest: float


def ratio(row: Measured, baseline: Measured) -> Ratio:
    """The paired ratios baseline / row of the same rounds."""
    paired = [theirs / ours for theirs, ours in zip(baseline.seconds, row.seconds, strict=True)]
    return Ratio(median=statistics.median(paired), least=min(paired), greatest=max(paired))


def measure(rows: Sequence[Row], *, rounds: int, progress: Callable[[str], None] = lambda _: None) -> list[Measured]:
    """Time the rows against each other; the first is the baseline that the others' pictures are compared with.

    Raises EngineError when a row cannot be opened: a row that is missing is a row that nobody notices.
    """
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker(row)) for row in rows]  # they load side by side
        outputs = []
        for row, worker in zip(rows, workers, strict=True):
            progress(f"loading {row.label}")
            outputs.append(_pictures(worker))
        seconds: list[list[float]] = [[] for _ in rows]
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}")
            for taken, worker in zip(seconds, workers, strict=True):
                taken.append(float(worker.ask("time")["seconds"]))
    baseline = outputs[0].astype(np.int16)
    measured = []
    for row, taken, output in zip(rows, seconds, outputs, strict=True):
        apart = np.abs(output.astype(np.int16) - baseline)
        facts = {"levels": int(apart.max()), "share_equal": float((apart == 0).mean())}
        measured.append(Measured(row=row, seconds=tuple(taken), **facts))  # type: ignore[arg-type]
    return measured


def work(row: Row) -> None:
    """The worker's side: load, then answer `look` with the pictures and `time` with the seconds of one run."""
    run = open_row(row)
    for line in sys.stdin:
        if line.strip() == "look":
            pictures = run()
            answer: dict[str, Any] = {"shape": pictures.shape, "bytes": base64.b64encode(pictures.tobytes()).decode()}
        else:
            run()  # untimed: the caches hold this row's weights again after the others' turns
            start = time.perf_counter()
            run()
            answer = {"seconds": time.perf_counter() - start}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


@contextmanager
def _worker(row: Row) -> Iterator[_Worker]:
    described = json.dumps(dataclasses.asdict(row), default=str)
    with tempfile.TemporaryFile("w+") as complaints:  # a pipe that nobody empties would stop a talkative engine
        process = subprocess.Popen(
            [sys.executable, "-m", "starcast.benchmarks.measure", described],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True,
            env={**os.environ, **QUIET, "OMP_NUM_THREADS": str(row.threads)},
        )  # fmt: skip
        try:
            yield _Worker(row, process, complaints)
        finally:
            process.kill()
            process.communicate()


@dataclass(frozen=True)
class _Worker:
    row: Row
    process: subprocess.Popen[str]
    complaints: IO[str]

    def ask(self, question: str) -> dict[str, Any]:
        """The worker's answer to `look` or `time`. Raises EngineError with the last thing it said when it died."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(question + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.complaints.seek(0)
            said = self.complaints.read().strip().splitlines()
            reason = said[-1] if said else "it said nothing"
            raise EngineError(f"{self.row.label} stopped while it was measured ({reason}): leave it out with --rows")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _pictures(worker: _Worker) -> NDArray[np.uint8]:
    answer = worker.ask("look")
    return np.frombuffer(base64.b64decode(answer["bytes"]), np.uint8).reshape(answer["shape"])


def _row_from(described: str) -> Row:
    given = json.loads(described)
    return Row(**{**given, "checkpoint": Path(given["checkpoint"]), "bundle": Path(given["bundle"])})


if __name__ == "__main__":
    work(_row_from(sys.argv[1]))
