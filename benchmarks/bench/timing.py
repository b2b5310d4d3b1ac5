"""A row's turn in its own process: time a window of runs, then the parts of a few more."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.bench.inputs import Inputs
from starcast.benchmarks.bench.method import Method, take_samples, warm_up

Images = NDArray[np.uint8]
Make = Callable[[Inputs], Images]


@dataclass(frozen=True)
class Split:
    """Milliseconds of one run's parts. `compute` is None for an engine that accepts nothing on the GPU. `enqueue`,
    the host's time to start the computation, is None for an engine that does not report it."""

    copy_in: float
    compute: float | None
    copy_out: float
    enqueue: float | None


class Run(Protocol):
    """A loaded row."""

    def __call__(self, inputs: Inputs) -> Images:
        """Make the images of the inputs, uint8 [N, H, W, C], from host memory to host memory."""

    def split(self, inputs: Inputs) -> Split:
        """Time the parts of one run (GPU rows only)."""


@dataclass(frozen=True)
class CpuRun:
    """A run on the CPU, which has no parts."""

    make: Make

    def __call__(self, inputs: Inputs) -> Images:
        return self.make(inputs)

    def split(self, inputs: Inputs) -> Split:
        raise NotImplementedError("a run on the CPU has no copies to split off")


BATCH_SAMPLES = 100  # per batch size; fewer than usual, because no 99th percentile is reported

Parts = dict[str, float | None]  # of one run, in milliseconds
State = Callable[[], dict[str, Any] | None]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """The figures of a row's turn: the median run and the CPU time per run, in seconds; the seconds of every run;
    whether the row became steady in its warm-up. On a GPU also the parts of a run and the GPU's state."""

    seconds: float
    cpu_seconds: float
    samples: Sequence[float]
    steady: bool = True
    split: Parts | None = None
    state: Mapping[str, Any] | None = None


def take_turn(run: Run, batch: Inputs, method: Method, state: State | None = None) -> Turn:
    """Warm up, then take a window of samples; then measure the parts of a run if the row has any, and the device's
    state under load if `state` is given."""
    steady = warm_up(lambda: run(batch), method)
    cpu = time.process_time()
    samples = take_samples(lambda: run(batch), method)
    cpu_seconds = (time.process_time() - cpu) / len(samples)
    loaded = None if state is None else state_under_load(lambda: run(batch), state)
    split = median_parts([asdict(run.split(batch)) for _ in range(method.split_samples)])
    return Turn(
        seconds=statistics.median(samples), cpu_seconds=cpu_seconds, samples=samples, steady=steady, split=split,
        state=loaded,
    )  # fmt: skip


def take_batch_turn(
    run: Run, inputs: Inputs, size: int, file: Path, method: Method, state: State | None = None
) -> Turn:
    """Take a turn with a batch of `size`, filled by repeating the inputs. Saves one image of each to `file`."""
    batch = inputs.repeated(size)
    np.save(file, run(batch)[: len(inputs)])
    method = replace(method, window_samples=min(method.window_samples, BATCH_SAMPLES))
    return take_turn(run, batch, method, state)


def state_under_load(run: Callable[[], object], state: State) -> dict[str, Any] | None:
    """The device's state during runs: an idle GPU would report its idle clocks, power and temperature."""
    with ThreadPoolExecutor(1) as asking:
        answer = asking.submit(state)
        while not answer.done():
            run()
    return answer.result()


def median_parts(runs: Sequence[Parts]) -> Parts | None:
    """The median of each part over several runs; None for an unknown part, and None without runs."""
    if not runs:
        return None
    return {
        name: None if first is None else statistics.median(float(parts[name] or 0) for parts in runs)
        for name, first in runs[0].items()
    }
