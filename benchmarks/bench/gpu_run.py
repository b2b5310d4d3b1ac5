"""The worker's side of a row on a card: whole runs from bytes to bytes, and the parts of one.

What is timed apart: the copy of the pictures to the card, what the card calculates, and the copy back. PyTorch's rows
have marks between them. Engines do all three in one call: their copies are timed by themselves, with as many bytes in
page-locked memory, and their calculation by marks of their own around it. ONNX Runtime sets none: its calculation is a
call with pictures that are on the card and stay there, by the host's clock, which counts starting it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from starcast.benchmarks.bench.clock import CardClock
from starcast.benchmarks.bench.method import Method
from starcast.benchmarks.bench.open_row import Images, open_graph, opened_frames
from starcast.benchmarks.bench.rows import PYTORCH, Row
from starcast.export.gate.reference import Eager
from starcast.runtime.engines.base import CardTime
from starcast.train.checkpoint.file import averaged_networks, read_checkpoint

HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}
MOST_COMPILED = 64  # batch sizes


@dataclass(frozen=True)
class Split:
    """Milliseconds of one run. `compute` None where an engine does not take pictures on the card; `enqueue` is the
    host's time to start the calculation, and with PyTorch's rows the copies, None where an engine does not tell."""

    copy_in: float
    compute: float | None
    copy_out: float
    enqueue: float | None


class CardRun(Protocol):
    """A row, loaded."""

    def __call__(self, images: Images) -> Images:
        """Pictures uint8 [N, H, W, 3] to translations of them, host to host."""

    def split(self, images: Images) -> Split:
        """The parts of one run."""


def open_on_card(row: Row, style: NDArray[np.float32]) -> CardRun:
    """Load a row's model for a style [1, S]."""
    assert row.method is not None
    if row.engine == PYTORCH:
        return TorchRun(row, row.method, style)
    if row.ours:
        frames = opened_frames(row)
        return EngineRun(
            lambda images: frames(images, style), row.method, on_card=frames.engine.on_card,
            card_time=lambda images: frames.card_time(images, style),
        )  # fmt: skip
    return EngineRun(open_graph(row, style), row.method, on_card=row.engine == "cuda")


@dataclass(frozen=True)
class Graphed:
    """A call for one shape of pictures, recorded: `replay` reads `source` and writes `made`."""

    source: Tensor
    replay: Callable[[], object]
    made: Tensor


class TorchRun:
    """PyTorch's own network, eager, in a CUDA graph or compiled, with its weights in the row's precision."""

    def __init__(self, row: Row, method: Method, style: NDArray[np.float32]) -> None:
        self._clock = CardClock(method.device)
        device = self._clock.device
        self._dtype = HALF.get(row.precision, torch.float32)
        self._format = torch.contiguous_format if row.form == "eager" else torch.channels_last
        # the baseline is float32 throughout; TF32, which torch takes for convolutions as it comes, is a row of its own
        torch.backends.cudnn.allow_tf32 = row.precision == "tf32"
        torch.backends.cudnn.benchmark = True
        network: Any = averaged_networks(read_checkpoint(row.source)).generator
        network = network.to(device=device, dtype=self._dtype, memory_format=self._format)
        self._eager = Eager(network, dtype=self._dtype, memory_format=self._format)
        self._calculate: Callable[[Tensor], Tensor] = self._translate
        if row.form == "compiled":
            # every batch size is compiled for itself: past a limit of eight, torch would quietly go on without
            torch._dynamo.config.recompile_limit = MOST_COMPILED
            torch._dynamo.config.fail_on_recompile_limit_hit = True
            self._calculate = torch.compile(self._translate, mode="max-autotune", dynamic=False)
        self._graphed: dict[tuple[int, ...], Graphed] | None = {} if row.form == "graphed" else None
        self._style = torch.from_numpy(style).to(device, self._dtype)
        self._memory: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}  # page-locked, for what comes and what goes

    def __call__(self, images: Images) -> Images:
        return self._run(images, lambda: None)

    def split(self, images: Images) -> Split:
        marks: list[tuple[Any, float]] = []
        self._run(images, lambda: marks.append((self._clock.mark(), time.perf_counter())))
        copy_in, compute, copy_out = (self._clock.between_ms(a, b) for (a, _), (b, _) in itertools.pairwise(marks))
        return Split(copy_in, compute, copy_out, enqueue=(marks[-1][1] - marks[0][1]) * 1000)

    @torch.inference_mode()
    def _run(self, images: Images, mark: Callable[[], None]) -> Images:
        given, landing = self._pinned(images.shape)
        given.copy_(torch.from_numpy(images))
        mark()
        source = given.to(self._clock.device, non_blocking=True)
        mark()
        made = self._calculate(source) if self._graphed is None else self._replayed(source, self._graphed)
        mark()
        landing.copy_(made, non_blocking=True)
        mark()
        self._clock.wait()
        translated: Images = landing.numpy().copy()
        return translated

    def _translate(self, source: Tensor) -> Tensor:
        return self._eager(source, self._style)

    def _replayed(self, source: Tensor, graphed: dict[tuple[int, ...], Graphed]) -> Tensor:
        if source.shape not in graphed:
            self._translate(source)  # cuDNN tries its algorithms, which cannot be recorded
            place = source.clone()
            graphed[source.shape] = Graphed(place, *self._clock.recorded(lambda: self._translate(place)))
        record = graphed[source.shape]
        record.source.copy_(source)
        record.replay()
        return record.made

    def _pinned(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        if shape not in self._memory:
            self._memory[shape] = self._clock.pinned(shape), self._clock.pinned(shape)
        return self._memory[shape]


class EngineRun:
    """A function from pictures to pictures, which may be on the card where `on_card` says so; `card_time`: what the
    engine itself tells of the time that it takes for them."""

    def __init__(
        self, run: Callable[[Any], Any], method: Method, *, on_card: bool,
        card_time: Callable[[Any], CardTime | None] = lambda images: None,
    ) -> None:  # fmt: skip
        self._run = run
        self._card_time = card_time
        self._clock = CardClock(method.device)
        self._on_card = on_card and self._clock.device.type == "cuda"

    def __call__(self, images: Images) -> Images:
        translated: Images = self._run(images)
        return translated

    def split(self, images: Images) -> Split:
        there, copy_in = self._copied(torch.from_numpy(images), self._clock.device)
        compute, enqueue = self._calculated(there) if self._on_card else (None, None)
        _, copy_out = self._copied(there, torch.device("cpu"))
        return Split(copy_in, compute, copy_out, enqueue)

    def _calculated(self, images: Tensor) -> tuple[float, float | None]:
        """Milliseconds of the calculation, and of the host until it has started it."""
        self._clock.wait()
        told = self._card_time(images)
        if told is not None:
            return told.compute, told.enqueue
        start = time.perf_counter()
        self._run(images)  # it ends when the card is done
        return (time.perf_counter() - start) * 1000, None

    def _copied(self, source: Tensor, device: torch.device) -> tuple[Tensor, float]:
        """A copy in the other memory, and how long the way through page-locked memory took, in milliseconds."""
        host = self._clock.pinned(tuple(source.shape))
        if device.type != "cpu":
            host.copy_(source)
            source, target = host, torch.empty_like(source, device=device)
        else:
            target = host
        first = self._clock.mark()
        target.copy_(source, non_blocking=True)
        second = self._clock.mark()
        self._clock.wait()
        return target, self._clock.between_ms(first, second)
