"""Time AdaIN + leaky ReLU at one size: by torch eager, by torch.compile, and by the Triton kernel.

Triton's own `do_bench_cudagraph` times the calls as one CUDA graph. What it leaves to its caller is here: inputs and
outputs exceed the GPU's cache, and the implementations take turns.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from starcast.benchmarks.bench.ceilings import BYTES
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
)
from starcast.benchmarks.studies.in_turn import Run, time_in_turn
from starcast.train.adain import adain_leaky_relu

FOOTPRINT = 2**28  # bytes of inputs that calls take in turn: more than the 50 MB of an H100's cache
MAX_INPUTS = 500
REP_MS, ROUNDS = 5, 5  # of a recorded graph; of all implementations in turn, each the median of ten replays
WARM_UP_S = 0.5

Norm = Callable[[Tensor, Tensor, Tensor], Tensor]


def measure_planes(planes: Planes, device: str = "cuda") -> Row:
    """Time and check every implementation at one size."""
    with torch.inference_mode():  # all of it, or torch.compile would compile again for what comes after
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
        # a float32 style would make the reference's planes float32: networks give it in the planes' type
        style = (scale, shift) if name == KERNEL else (scale.to(DTYPE), shift.to(DTYPE))
        errors[name] = float((norm(inputs[0], *style).double() - expected).abs().max())
        return time_norm(norm, inputs, style)

    makers = {name: partial(prepare, name, norm) for name, norm in norms(planes.format).items()}
    times, failures = time_in_turn(
        {COPY: lambda: time_copy(planes.bytes, device), **makers}, ROUNDS, warm_up_s=WARM_UP_S
    )
    return Row(planes, times, {name: errors[name] for name in times if name in errors}, failures)


def norms(format: str) -> dict[str, Norm]:
    """The implementations to compare. All return planes in the format they get, as the kernel does; torch's operators
    alone return contiguous ones, which a network's next convolution would have to convert."""
    order = FORMATS[format]

    def eager(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return adain_leaky_relu(x, scale, shift).contiguous(memory_format=order)

    def fused(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return adain_leaky_relu(x, scale, shift, implementation="triton")

    compiled: Norm = torch.compile(eager, dynamic=False, mode="max-autotune-no-cudagraphs")
    implementations: dict[str, Norm] = {EAGER: eager, COMPILED: compiled, KERNEL: fused}
    return implementations if order == torch.contiguous_format else {**implementations, AS_IT_COMES: adain_leaky_relu}


def time_norm(norm: Norm, inputs: Sequence[Tensor], style: tuple[Tensor, Tensor]) -> Run:
    """Microseconds of one call, with the inputs in turn."""
    turns = itertools.cycle(inputs)
    # kept alive, or a call would write where the last output still lies in the cache
    outputs: deque[Tensor] = deque(maxlen=len(inputs))

    def call() -> None:
        outputs.append(norm(next(turns), *style))

    for _ in range(3):
        call()
    return lambda: bench_call(call)


def time_copy(size: int, device: torch.device) -> Run:
    """Microseconds of a copy of so many bytes within the GPU, at the rate of a copy that no cache holds."""
    whole = BYTES[device.type]
    source, target = (torch.empty(whole, dtype=torch.uint8, device=device) for _ in range(2))
    return lambda: bench_call(lambda: target.copy_(source)) * size / whole


def bench_call(call: Callable[[], object]) -> float:
    """Microseconds of a call on the GPU."""
    from triton.testing import do_bench_cudagraph  # Triton is for Linux

    return 1000 * float(do_bench_cudagraph(call, rep=REP_MS, return_mode="median"))
