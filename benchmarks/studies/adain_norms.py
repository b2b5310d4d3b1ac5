"""AdaIN + leaky ReLU by torch eager, by torch.compile and by the Triton kernel: what each takes at one size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from starcast.benchmarks.bench.ceilings import BYTES
from starcast.benchmarks.bench.clock import DeviceClock
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
from starcast.benchmarks.studies.in_turn import Run, timed_in_turn
from starcast.train.adain import adain_leaky_relu

FOOTPRINT = 2**28  # bytes of inputs that calls take in turn: more than the 50 MB that an H100's cache holds
MOST_INPUTS = 500
CALLS, ROUNDS = 20, 15  # in one recorded graph, at least; of all ways, interleaved
WARM_UP_S = 0.5

Norm = Callable[[Tensor, Tensor, Tensor], Tensor]


def measured(planes: Planes, clock: DeviceClock) -> Row:
    """Time and check every way at one size."""
    with torch.inference_mode():  # all of it: torch.compile would compile once more for what is behind it
        row = _measured(planes, clock)
    torch.compiler.reset()  # one shape's kernels say nothing of the next, and eight of them are its limit
    return row


def _measured(planes: Planes, clock: DeviceClock) -> Row:
    shape = (planes.batch, planes.channels, planes.side, planes.side)
    inputs = [
        torch.randn(shape, device=clock.device).to(DTYPE).contiguous(memory_format=FORMATS[planes.format])
        for _ in range(max(1, min(MOST_INPUTS, FOOTPRINT // planes.bytes)))
    ]
    scale, shift = 0.5 + torch.rand(shape[:2], device=clock.device), torch.randn(shape[:2], device=clock.device)
    right = adain_leaky_relu(inputs[0].double(), scale.double(), shift.double())
    errors: dict[str, float] = {}

    def checked(name: str, norm: Norm) -> Run:
        # in the reference a float32 style would make the planes float32: networks give it in their own type
        style = (scale, shift) if name == KERNEL else (scale.to(DTYPE), shift.to(DTYPE))
        errors[name] = float((norm(inputs[0], *style).double() - right).abs().max())
        return recorded(norm, inputs, style, clock)

    makers = {name: partial(checked, name, norm) for name, norm in ways(planes.format).items()}
    times, failures = timed_in_turn(
        {COPY: lambda: _copying(planes.bytes, clock), **makers}, ROUNDS, warm_up_s=WARM_UP_S
    )
    return Row(planes, times, {name: errors[name] for name in times if name in errors}, failures)


def ways(format: str) -> dict[str, Norm]:
    """Those that are compared give planes back in the format that they get, as the kernel does; torch's operators by
    themselves give contiguous ones, which a network's next convolution would have to turn."""
    order = FORMATS[format]

    def eager(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return adain_leaky_relu(x, scale, shift).contiguous(memory_format=order)

    def fused(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return adain_leaky_relu(x, scale, shift, implementation="triton")

    compiled: Norm = torch.compile(eager, dynamic=False, mode="max-autotune-no-cudagraphs")
    found: dict[str, Norm] = {EAGER: eager, COMPILED: compiled, KERNEL: fused}
    return found if order == torch.contiguous_format else {**found, AS_IT_COMES: adain_leaky_relu}


def recorded(norm: Norm, inputs: Sequence[Tensor], style: tuple[Tensor, Tensor], clock: DeviceClock) -> Run:
    """Microseconds of one call, of as many in one recorded graph as read every input."""
    calls = max(CALLS, len(inputs))
    outputs: list[Tensor] = []

    def run() -> Tensor:
        outputs.clear()
        for number in range(calls):  # all are kept: the next would be written where the last still lies in the cache
            outputs.append(norm(inputs[number % len(inputs)], *style))
        return outputs[-1]

    for _ in range(3):
        norm(inputs[0], *style)
    replay, _ = clock.record(run)

    def run_again() -> object:
        replay()
        return run  # which holds inputs, style and outputs: a graph has their addresses alone

    return _timed(run_again, calls, clock)


def _copying(size: int, clock: DeviceClock) -> Run:
    """Microseconds of a copy of so many bytes within the card, at the rate of a copy that no cache holds."""
    whole = BYTES[clock.device.type]
    here, there = (torch.empty(whole, dtype=torch.uint8, device=clock.device) for _ in range(2))
    return _timed(lambda: there.copy_(here), whole / size, clock)


def _timed(run: Callable[[], object], calls: float, clock: DeviceClock) -> Run:
    def once() -> float:
        run()  # keeps the card busy while the next launch is prepared
        first = clock.mark()
        run()
        last = clock.mark()
        clock.wait()
        return clock.between_ms(first, last) * 1000 / calls

    return once
