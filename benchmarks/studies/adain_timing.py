"""Time AdaIN + leaky ReLU by torch eager, torch.compile and the Triton kernel, alone and in a training step.

Triton's `do_bench_cudagraph` times calls of a norm at one size as one CUDA graph. This module does what it leaves to
its caller: inputs and outputs exceed the GPU's cache, and the implementations take turns. The training step is that of
AFHQ's networks in bfloat16.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from starcast.benchmarks.bench.limits import BYTES
from starcast.benchmarks.bench.parts import DeviceClock
from starcast.benchmarks.bench.random_weights import draw_batch
from starcast.benchmarks.studies.adain_figures import (
    AS_IT_COMES,
    COMPILED,
    COPY,
    DTYPE,
    EAGER,
    FORMATS,
    KERNEL,
    Planes,
    Row,
    Step,
)
from starcast.options import replace_options
from starcast.train.adain import Implementation, adain_leaky_relu
from starcast.train.data.batch import TensorBatch
from starcast.train.device import compute_reproducibly
from starcast.train.families import family, options_class

Run = Callable[[], float]  # runs once, and returns the time it took
MAX_REASON = 200  # characters


def time_in_turn(
    makers: Mapping[str, Callable[[], Run]], rounds: int, *, warm_up_s: float
) -> tuple[dict[str, float], dict[str, str]]:
    """The time of each implementation, and why others failed. A maker compiles one, and returns the run to time."""
    runs, failures = {}, {}
    for name, make in makers.items():
        try:
            runs[name] = make()
        except Exception as error:  # noqa: BLE001 - compilers, Triton and the driver each raise classes of their own
            failures[name] = _reason(error)
    try:
        return interleave(runs, rounds, warm_up_s=warm_up_s), failures
    except RuntimeError as error:  # a GPU fault shows late, and nothing runs there after it
        return {}, failures | dict.fromkeys(runs, _reason(error))


def interleave(runs: Mapping[str, Run], rounds: int, *, warm_up_s: float) -> dict[str, float]:
    """The median time of each run. They take turns round by round, so that heating affects all alike. All first run for
    `warm_up_s`, because a GPU's clocks fall while it waits for a compiler."""
    names = list(runs)
    end = time.monotonic() + warm_up_s
    while names and time.monotonic() < end:
        for run in runs.values():
            run()
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds if names else 0):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(runs[name]())
    return {name: statistics.median(values) for name, values in times.items()}


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:MAX_REASON]


FOOTPRINT = 2**28  # bytes of inputs that calls cycle through: more than the 50 MB of an H100's cache
MAX_INPUTS = 500
REP_MS, ROUNDS = 5, 5  # of a recorded graph; of all in turn, each time the median of ten replays
WARM_UP_S = 0.5

Norm = Callable[[Tensor, Tensor, Tensor], Tensor]


def measure_planes(planes: Planes, device: str = "cuda") -> Row:
    """Time and check every implementation at one size."""
    with torch.inference_mode():  # around all of it, or torch.compile would compile again for later calls
        row = _measure(planes, torch.device(device))
    torch.compiler.reset()  # one shape's kernels are useless for the next, and torch keeps only eight
    return row


def _measure(planes: Planes, device: torch.device) -> Row:
    shape = (planes.batch, planes.channels, planes.side, planes.side)
    inputs = [
        torch.randn(shape, device=device).to(DTYPE).contiguous(memory_format=FORMATS[planes.format])
        for _ in range(max(1, min(MAX_INPUTS, FOOTPRINT // planes.bytes)))
    ]
    scale, shift = 0.5 + torch.rand(shape[:2], device=device), torch.randn(shape[:2], device=device)
    expected = adain_leaky_relu(inputs[0].double(), scale.double(), shift.double())
    errors: dict[str, float] = {}

    def prepare(name: str, norm: Norm) -> Run:
        # a float32 style would make the reference's planes float32; networks pass it in the planes' type
        style = (scale, shift) if name == KERNEL else (scale.to(DTYPE), shift.to(DTYPE))
        errors[name] = float((norm(inputs[0], *style).double() - expected).abs().max())
        return time_norm(norm, inputs, style)

    makers = {name: partial(prepare, name, norm) for name, norm in norms(planes.format).items()}
    times, failures = time_in_turn(
        {COPY: lambda: time_copy(planes.bytes, device), **makers}, ROUNDS, warm_up_s=WARM_UP_S
    )
    return Row(planes, times, {name: errors[name] for name in times if name in errors}, failures)


def norms(format: str) -> dict[str, Norm]:
    """The implementations to compare. All but AS_IT_COMES return planes in the format they get, as the kernel does.
    torch's operators by themselves return contiguous ones, which a network's next convolution would have to convert."""
    order = FORMATS[format]

    def eager(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return adain_leaky_relu(x, scale, shift).contiguous(memory_format=order)

    def fused(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return adain_leaky_relu(x, scale, shift, implementation="triton")

    compiled: Norm = torch.compile(eager, dynamic=False, mode="max-autotune-no-cudagraphs")
    implementations: dict[str, Norm] = {EAGER: eager, COMPILED: compiled, KERNEL: fused}
    return implementations if order == torch.contiguous_format else {**implementations, AS_IT_COMES: adain_leaky_relu}


def time_norm(norm: Norm, inputs: Sequence[Tensor], style: tuple[Tensor, Tensor]) -> Run:
    """A run that times one call in microseconds, cycling through the inputs."""
    turns = itertools.cycle(inputs)
    # kept alive, or a call would write to memory that the cache still holds from the last output
    outputs: deque[Tensor] = deque(maxlen=len(inputs))

    def call() -> None:
        outputs.append(norm(next(turns), *style))

    for _ in range(3):
        call()
    return lambda: bench_call(call)


def time_copy(size: int, device: torch.device) -> Run:
    """A run that times a copy of so many bytes within the GPU, in microseconds, scaled from one that no cache holds."""
    whole = BYTES[device.type]
    source, target = (torch.empty(whole, dtype=torch.uint8, device=device) for _ in range(2))
    return lambda: bench_call(lambda: target.copy_(source)) * size / whole


def bench_call(call: Callable[[], object]) -> float:
    """Microseconds of a call on the GPU."""
    from triton.testing import do_bench_cudagraph  # Triton is for Linux only

    return 1000 * float(do_bench_cudagraph(call, rep=REP_MS, return_mode="median"))


BATCH, DOMAINS = 8, 3
OPTIONS = replace_options(options_class()(), image_size=256, batch_size=BATCH)
STEPS = 10  # timed steps of each implementation
IMPLEMENTATIONS: tuple[Implementation, ...] = ("reference", "triton")


def measure_step(clock: DeviceClock) -> Step:
    """Time both implementations in turn. Both trainings are on the GPU at once: the peak of each includes the other's
    weights."""
    batch = draw_batch(OPTIONS, DOMAINS).to_step(clock.device, torch.channels_last)
    peaks: dict[str, float] = {}
    makers: dict[str, Callable[[], Run]] = {
        name: partial(_prepare, name, batch, peaks, clock) for name in IMPLEMENTATIONS
    }
    with compute_reproducibly(clock.device, deterministic=False):  # as a training run does
        times, failures = time_in_turn(makers, STEPS, warm_up_s=WARM_UP_S)
    return Step(times, {name: peaks[name] for name in times}, failures)


def _prepare(implementation: Implementation, batch: TensorBatch, peaks: dict[str, float], clock: DeviceClock) -> Run:
    kind = family(OPTIONS.family)
    networks: Any = kind.build_networks(kind.configure(OPTIONS, DOMAINS), seed=0)
    networks.to(clock.device, torch.channels_last).use_adain(implementation)
    averaged, optimizers = kind.averaged_copy(networks), kind.build_optimizers(networks, OPTIONS)

    def run() -> float:
        torch.cuda.reset_peak_memory_stats()
        start = clock.mark()
        kind.training_step(networks, averaged, optimizers, batch, 0, OPTIONS, autocast=True)
        end = clock.mark()
        clock.wait()
        peaks[implementation] = torch.cuda.max_memory_allocated() / 2**30
        return clock.between_ms(start, end)

    for _ in range(3):
        run()
    return run
