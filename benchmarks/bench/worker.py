"""One row in a process of its own. The driver asks, the process answers with a line of JSON.

look FILE    translate all pictures and save them there
time         one untimed and one timed run over one batch: {"seconds", "cpu_seconds"}; on a card a window of them
batch N FILE on a card: the same for a batch of N, whose first pictures are saved
memory       {"peak_rss"}, in bytes or null
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from starcast.benchmarks.bench.inputs import Inputs
from starcast.benchmarks.bench.memory import peak_rss
from starcast.benchmarks.bench.method import Method
from starcast.benchmarks.bench.open_row import Run, open_row
from starcast.benchmarks.bench.rows import Row
from starcast.errors import EngineError

# threads that spin while they wait would eat the cores of the row whose turn it is
QUIET = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
LONGEST_REASON = 200  # letters

Ask = Callable[[str, str], dict[str, Any]]  # a question and its argument -> the answer


@dataclass(frozen=True)
class Worker:
    """The driver's end."""

    row: Row
    process: subprocess.Popen[str]
    complaints: IO[str]

    def ask(self, question: str) -> dict[str, Any]:
        """The answer. Raises EngineError with the reason when the process has ended, or is ended because it takes
        longer than its method allows: a compiler may go on for an hour."""
        longest = None if self.row.method is None else self.row.method.answer_s
        with ended_after(self.process, longest) as late:
            line = self._line(question)
        if not line:
            status = self.process.wait()
            if late.is_set():
                raise EngineError(f"it had not answered after {longest:g} s")
            self.complaints.seek(0)
            raise EngineError(reason_in(self.complaints.read(), status))
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _line(self, question: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(question + "\n")
            self.process.stdin.flush()
            return self.process.stdout.readline()
        except BrokenPipeError:
            return ""


@contextmanager
def ended_after(process: subprocess.Popen[str], seconds: float | None) -> Iterator[threading.Event]:
    """Kill a process if the block takes longer, which the event then tells; None: it may take its time."""
    late = threading.Event()
    if seconds is None:
        yield late
        return

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


@contextmanager
def started(row: Row, inputs: Path) -> Iterator[Worker]:
    """A process that loads the row at once, and ends with the block."""
    with tempfile.TemporaryFile("w+") as complaints:  # a pipe that nobody empties would stop a talkative engine
        process = subprocess.Popen(
            [sys.executable, "-m", "starcast.benchmarks.bench.worker", as_text(row), str(inputs)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True,
            env=quiet_environment(row.threads),
        )  # fmt: skip
        try:
            yield Worker(row, process, complaints)
        finally:
            process.kill()
            process.communicate()


def quiet_environment(threads: int) -> dict[str, str]:
    """This process's environment for one that measures: so many threads, which sleep while they wait."""
    return {**os.environ, **QUIET, "OMP_NUM_THREADS": str(threads)}


def reason_in(complaints: str, status: int) -> str:
    """Why a process ended, in a sentence: its error's own words, without the traceback."""
    if status < 0:
        return f"its process was ended by signal {-status}" + (" (out of memory?)" if status == -9 else "")
    lines = [line.strip() for line in complaints.strip().splitlines()]
    # the last error of a chain is the one that ended it; libraries print advice after it
    raised = [match for line in lines if (match := re.match(r"(?:\w+\.)*\w*(?:Error|Exception)\w*: (.+)", line))]
    told = raised[-1][1] if raised else next((line for line in reversed(lines) if line), "it ended without a word")
    return told if len(told) <= LONGEST_REASON else f"{told[: LONGEST_REASON - 1]}…"


def as_text(row: Row) -> str:
    """A row as JSON."""
    return json.dumps(dataclasses.asdict(row), default=str)


def from_text(text: str) -> Row:
    """What `as_text` wrote."""
    given = json.loads(text)
    method = Method(**given["method"]) if given["method"] is not None else None
    cache = Path(given["cache"]) if given["cache"] is not None else None
    return Row(**{
        **given, "source": Path(given["source"]), "size": tuple(given["size"]), "method": method, "cache": cache,
    })  # fmt: skip


def work(row: Row, inputs: Inputs, answers: IO[str]) -> None:
    """Load the row, then answer the lines of standard input."""
    run, ask = _on_processor(row, inputs) if row.method is None else _on_card(row, row.method, inputs)
    for line in sys.stdin:
        question, _, argument = line.strip().partition(" ")
        if question == "look":
            count = len(inputs.images)
            parts = [run(inputs.images[start : start + row.batch]) for start in range(0, count, row.batch)]
            np.save(argument, np.concatenate(parts))
            answer: dict[str, Any] = {}
        elif question == "memory":
            answer = {"peak_rss": peak_rss()}
        else:
            answer = ask(question, argument)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _on_processor(row: Row, inputs: Inputs) -> tuple[Run, Ask]:
    run = open_row(row, inputs.styles)
    batch = np.ascontiguousarray(inputs.images[: row.batch])

    def time_one(*_: str) -> dict[str, Any]:
        run(batch)  # untimed: the caches hold this row's weights again after the others' turns
        cpu, start = time.process_time(), time.perf_counter()
        run(batch)
        return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}

    return run, time_one


def _on_card(row: Row, method: Method, inputs: Inputs) -> tuple[Run, Ask]:
    from starcast.benchmarks.bench.gpu_run import open_on_card
    from starcast.benchmarks.bench.gpu_worker import timed, timed_batch

    run = open_on_card(row, inputs.styles)
    batch = np.ascontiguousarray(inputs.images[: row.batch])
    windows = itertools.count()

    def ask(question: str, argument: str) -> dict[str, Any]:
        if question == "time":
            return timed(run, batch, method if next(windows) == 0 else method.warm())
        size, _, file = argument.partition(" ")
        return timed_batch(run, inputs.images, int(size), Path(file), method)

    return run, ask


def _main() -> None:
    # some engines write to standard output; the answers keep it for themselves
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        work(from_text(sys.argv[1]), Inputs.load(Path(sys.argv[2])), answers)


if __name__ == "__main__":
    _main()
