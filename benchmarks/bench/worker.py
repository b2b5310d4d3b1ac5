"""A row in a separate process. The driver asks; the process answers with a line of JSON.

look FILE    make all images and save them to FILE
time         take a turn over one batch (timing.py)
batch N FILE take a turn with a batch of N, and save the first images to FILE
memory       {"peak_rss"}, in bytes or null
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from starcast.benchmarks.bench.inputs import Inputs
from starcast.benchmarks.bench.rows import PYTORCH, Row, row_from_json, row_to_json
from starcast.benchmarks.bench.state import gpu_state, peak_rss
from starcast.benchmarks.bench.timing import CpuRun, Images, Make, Run, take_batch_turn, take_turn
from starcast.errors import EngineError
from starcast.runtime.engines.registry import find_engine
from starcast.runtime.engines.session import VariantSession

# threads that spin while they wait would take the cores of the row whose turn it is
QUIET = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
MAX_REASON = 200  # characters


@dataclass(frozen=True)
class Worker:
    """The driver's end of a row's process."""

    row: Row
    process: subprocess.Popen[str]
    complaints: IO[str]

    def ask(self, question: str) -> dict[str, Any]:
        """The process's answer. Raises EngineError with the reason if the process ends, or is killed because it exceeds
        the method's time limit: a compiler may take an hour."""
        longest = self.row.setting.method.answer_s
        with kill_after(self.process, longest) as late:
            line = self._exchange(question)
        if not line:
            status = self.process.wait()
            if late.is_set():
                raise EngineError(f"it did not answer within {longest:g} s")
            self.complaints.seek(0)
            raise EngineError(reason_in(self.complaints.read(), status))
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _exchange(self, question: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(question + "\n")
            self.process.stdin.flush()
            return self.process.stdout.readline()
        except BrokenPipeError:
            return ""


@contextmanager
def kill_after(process: subprocess.Popen[str], seconds: float | None) -> Iterator[threading.Event]:
    """Kill a process and set the event if the block takes longer than `seconds`. None: no limit."""
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
def start_worker(row: Row, inputs: Path) -> Iterator[Worker]:
    """Start a process that loads the row at once, and ends with the block."""
    with tempfile.TemporaryFile("w+") as complaints:  # a full pipe that nobody reads would stop a talkative engine
        process = subprocess.Popen(
            [sys.executable, "-m", "starcast.benchmarks.bench.worker", row_to_json(row), str(inputs)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True,
            env=quiet_environment(row.setting.threads),
        )  # fmt: skip
        try:
            yield Worker(row, process, complaints)
        finally:
            process.kill()
            process.communicate()


def quiet_environment(threads: int) -> dict[str, str]:
    """The environment for a process that measures: this one's, with so many threads, which sleep while they wait."""
    return {**os.environ, **QUIET, "OMP_NUM_THREADS": str(threads)}


def reason_in(complaints: str, status: int) -> str:
    """Why a process ended, in a sentence: its error's message, without the traceback."""
    if status < 0:
        return f"its process was ended by signal {-status}" + (" (out of memory?)" if status == -9 else "")
    lines = [line.strip() for line in complaints.strip().splitlines()]
    # a chain's last error is the one that ended the process; libraries print advice after it
    raised = [match for line in lines if (match := re.match(r"(?:\w+\.)*\w*(?:Error|Exception)\w*: (.+)", line))]
    reason = raised[-1][1] if raised else next((line for line in reversed(lines) if line), "it ended without a message")
    return reason if len(reason) <= MAX_REASON else f"{reason[: MAX_REASON - 1]}…"


def serve(row: Row, inputs: Inputs, answers: IO[str]) -> None:
    """Load the row, then answer each line of standard input."""
    run = open_row(row)
    batch = inputs.take(slice(row.setting.batch))
    state = None if row.setting.device == "cpu" else gpu_state
    turns = itertools.count()
    for line in sys.stdin:
        question, _, argument = line.strip().partition(" ")
        answer: dict[str, Any] = {}
        if question == "look":
            starts = range(0, len(inputs), row.setting.batch)
            parts = [run(inputs.take(slice(start, start + row.setting.batch))) for start in starts]
            np.save(argument, np.concatenate(parts))
        elif question == "memory":
            answer = {"peak_rss": peak_rss()}
        elif question == "time":
            answer = asdict(
                take_turn(run, batch, row.setting.method if next(turns) == 0 else row.setting.method.warm(), state)
            )
        else:
            size, _, file = argument.partition(" ")
            answer = asdict(take_batch_turn(run, inputs, int(size), Path(file), row.setting.method, state))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _main() -> None:
    # some engines write to standard output: keep it for the answers
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        serve(row_from_json(sys.argv[1]), Inputs.load(Path(sys.argv[2])), answers)


def open_row(row: Row) -> Run:
    """Load a row's model."""
    if row.engine == PYTORCH:
        from starcast.benchmarks.bench.pytorch import open_pytorch  # only these rows pay for importing torch

        return open_pytorch(row)
    session = open_variant(row) if row.ours else None
    make = open_graph(row) if session is None else lambda inputs: make_images(session, inputs)
    if row.setting.device == "cpu":
        return CpuRun(make)
    from starcast.benchmarks.bench.parts import EngineRun

    if session is None:
        return EngineRun(make, row.setting.method, on_gpu=row.engine == "cuda")
    return EngineRun(
        make, row.setting.method, on_gpu=session.engine.on_gpu,
        compute=lambda inputs: session.run(
            session.variant.file, session.feeds(inputs.images, inputs.styles, inputs.extra)
        ),
        gpu_time=lambda inputs: session.gpu_time(inputs.images, inputs.styles, inputs.extra),
    )  # fmt: skip


def make_images(session: VariantSession, inputs: Inputs) -> Images:
    """The images of the inputs, as `translate` or `generate` would make them. The session makes masks of faces itself,
    once: other rows are given theirs, so that all rows time the generator alone."""
    if inputs.images is not None:
        return session(inputs.images, inputs.styles)
    noise = inputs.extra
    return session.generate(
        inputs.styles,
        lambda part: {name: array[part] if len(array) > 1 else array for name, array in noise.items()},
    )


def open_variant(row: Row) -> VariantSession:
    """Open the variant that a row of ours runs."""
    from starcast.runtime.bundle import open_bundle
    from starcast.runtime.engines.base import EngineOptions

    bundle = open_bundle(row.source)
    variants = [variant for variant in bundle.manifest.variants if variant.file == row.variant]
    # an engine may convert a float32 graph to a precision that the bundle has no variant for
    variant = next((variant for variant in variants if variant.precision == row.precision), variants[0])
    variant = msgspec.structs.replace(variant, precision=row.precision)
    return VariantSession(
        bundle, find_engine(row.engine), variant, EngineOptions(threads=row.setting.threads, cache=row.setting.cache)
    )


def open_graph(row: Row) -> Make:
    """Open a graph that starcast has not rewritten, with our engine settings, so that only the graphs differ."""
    from starcast.runtime.engines.base import EngineOptions, Graph

    graph = Graph(row.source, precision=row.precision)
    session = find_engine(row.engine).open(graph, EngineOptions(threads=row.setting.threads))

    def run(inputs: Inputs) -> Images:
        made: Images = session.run(inputs.feeds)
        return made

    return run


if __name__ == "__main__":
    _main()
