"""PyTorch's rows: the checkpoint's generator, eager, compiled or in a CUDA graph, on either device."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from starcast.benchmarks.bench.parts import DeviceClock
from starcast.benchmarks.bench.rows import Row
from starcast.benchmarks.bench.timing import CpuRun, Images, Run, Split
from starcast.export.families import open_model
from starcast.export.gate.reference import Eager
from starcast.runtime.nvidia.recorded import Recorded
from starcast.train.checkpoint.file import read_checkpoint

HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}
MAX_COMPILED = 64  # batch sizes


def open_pytorch(row: Row, style: NDArray[np.float32]) -> Run:
    """Load a checkpoint's generator for a style [1, S]."""
    return _open_on_cpu(row, style) if row.setting.device == "cpu" else GpuRun(row, style)


def _open_on_cpu(row: Row, style: NDArray[np.float32]) -> Run:
    torch.set_num_threads(row.setting.threads)
    generator: Any = _open_generator(row).to(memory_format=_layout(row))
    if row.form == "compiled":
        generator = torch.compile(generator)
    styles = torch.from_numpy(style)
    autocast = torch.bfloat16 if row.precision == "bf16" else None
    eager = Eager(generator, memory_format=_layout(row), autocast=autocast)

    @torch.inference_mode()
    def run(images: Images) -> Images:
        translated: Images = eager(torch.from_numpy(images), styles).numpy()
        return translated

    return CpuRun(run)


@dataclass(frozen=True)
class Graphed:
    """A call for one shape, recorded after its first run; it reads images from `source`."""

    source: Tensor
    compute: Recorded[[], Tensor]


class GpuRun:
    """The generator on a GPU, its weights in the row's precision."""

    def __init__(self, row: Row, style: NDArray[np.float32]) -> None:
        self._clock = DeviceClock(row.setting.method.device)
        device = self._clock.device
        dtype = HALF.get(row.precision, torch.float32)
        # the baseline is float32 throughout; TF32, torch's default for convolutions, has separate rows
        torch.backends.cudnn.allow_tf32 = row.precision == "tf32"
        torch.backends.cudnn.benchmark = True
        network: Any = _open_generator(row)
        network = network.to(device=device, dtype=dtype, memory_format=_layout(row))
        self._eager = Eager(network, dtype=dtype, memory_format=_layout(row))
        self._compute: Callable[[Tensor], Tensor] = self._translate
        if row.form == "compiled":
            # each batch size is compiled separately; beyond its limit of eight, torch would silently run uncompiled
            torch._dynamo.config.recompile_limit = MAX_COMPILED
            torch._dynamo.config.fail_on_recompile_limit_hit = True
            self._compute = torch.compile(self._translate, mode="max-autotune", dynamic=False)
        self._graphed: dict[tuple[int, ...], Graphed] | None = {} if row.form == "graphed" else None
        self._style = torch.from_numpy(style).to(device, dtype)
        self._memory: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}  # page-locked, for source and output

    def __call__(self, images: Images) -> Images:
        return self._run(images, lambda: None)

    def split(self, images: Images) -> Split:
        marks: list[tuple[Any, float]] = []
        self._run(images, lambda: marks.append((self._clock.mark(), time.perf_counter())))
        copy_in, compute, copy_out = (self._clock.between_ms(a, b) for (a, _), (b, _) in itertools.pairwise(marks))
        return Split(copy_in, compute, copy_out, enqueue=(marks[-1][1] - marks[0][1]) * 1000)

    @torch.inference_mode()
    def _run(self, images: Images, mark: Callable[[], None]) -> Images:
        upload, download = self._pinned(images.shape)
        upload.copy_(torch.from_numpy(images))
        mark()
        source = upload.to(self._clock.device, non_blocking=True)
        mark()
        output = self._compute(source) if self._graphed is None else self._replay(source, self._graphed)
        mark()
        download.copy_(output, non_blocking=True)
        mark()
        self._clock.wait()
        translated: Images = download.numpy().copy()
        return translated

    def _translate(self, source: Tensor) -> Tensor:
        return self._eager(source, self._style)

    def _replay(self, source: Tensor, graphed: dict[tuple[int, ...], Graphed]) -> Tensor:
        if source.shape not in graphed:
            place = source.clone()
            compute = Recorded(lambda: self._translate(place), lambda: self._record(place))
            graphed[source.shape] = Graphed(place, compute)
        graphed[source.shape].source.copy_(source)
        return graphed[source.shape].compute()

    def _record(self, place: Tensor) -> Callable[[], Tensor]:
        replay, output = self._clock.record(lambda: self._translate(place))

        def compute() -> Tensor:
            replay()
            return output

        return compute

    def _pinned(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        if shape not in self._memory:
            self._memory[shape] = self._clock.pinned(shape), self._clock.pinned(shape)
        return self._memory[shape]


def _layout(row: Row) -> torch.memory_format:
    return torch.contiguous_format if row.form == "eager" else torch.channels_last


def _open_generator(row: Row) -> Any:
    checkpoint = read_checkpoint(row.source)
    return open_model(checkpoint, checkpoint.domain_names).generator
