"""PyTorch's rows: the checkpoint's trained generator, eager, compiled or in a CUDA graph, on either device.

The network is the one that training uses and that the export's gate compares graphs with, not the form that export
traces."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from starcast.benchmarks.bench.inputs import IMAGE, STYLE, Inputs
from starcast.benchmarks.bench.parts import DeviceClock
from starcast.benchmarks.bench.rows import Row
from starcast.benchmarks.bench.timing import CpuRun, Images, Run, Split
from starcast.export.families import open_model
from starcast.export.gate.reference import Eager
from starcast.runtime.nvidia.recorded import Recorded
from starcast.train.checkpoint.file import read_checkpoint

HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}
MAX_COMPILED = 64  # batch sizes


def open_pytorch(row: Row) -> Run:
    """Load a checkpoint's generator."""
    return _open_on_cpu(row) if row.setting.device == "cpu" else GpuRun(row)


def _open_on_cpu(row: Row) -> Run:
    torch.set_num_threads(row.setting.threads)
    generator: Any = _open_generator(row).to(memory_format=_layout(row))
    if row.form == "compiled":
        generator = torch.compile(generator)
    autocast = torch.bfloat16 if row.precision == "bf16" else None
    eager = Eager(generator, memory_format=_layout(row), autocast=autocast)

    @torch.inference_mode()
    def run(inputs: Inputs) -> Images:
        given = {name: torch.from_numpy(array) for name, array in inputs.feeds.items()}
        made: Images = eager(*_in_order(given)).numpy()
        return made

    return CpuRun(run)


Tensors = dict[str, Tensor]  # by the names of the frame graph's inputs
Shapes = tuple[tuple[int, ...], ...]


def _in_order(tensors: Tensors) -> tuple[Tensor | None, Tensor, *tuple[Tensor, ...]]:
    """The inputs as `Eager` takes them."""
    extra = (tensor for name, tensor in tensors.items() if name not in (IMAGE, STYLE))
    return tensors.get(IMAGE), tensors[STYLE], *extra


@dataclass(frozen=True)
class Graphed:
    """A call for one combination of shapes, recorded after its first run; it reads its inputs from `places`."""

    places: Tensors
    compute: Recorded[[], Tensor]


class GpuRun:
    """The generator on a GPU, its weights in the row's precision."""

    def __init__(self, row: Row) -> None:
        self._clock = DeviceClock(row.setting.method.device)
        dtype = HALF.get(row.precision, torch.float32)
        # the baseline is float32 throughout; TF32, torch's default for convolutions, has separate rows
        torch.backends.cudnn.allow_tf32 = row.precision == "tf32"
        torch.backends.cudnn.benchmark = True
        network: Any = _open_generator(row)
        network = network.to(device=self._clock.device, dtype=dtype, memory_format=_layout(row))
        self._eager = Eager(network, dtype=dtype, memory_format=_layout(row))
        self._compute: Callable[[Tensors], Tensor] = self._make
        if row.form == "compiled":
            # each batch size is compiled separately; beyond its limit of eight, torch would silently run uncompiled
            torch._dynamo.config.recompile_limit = MAX_COMPILED
            torch._dynamo.config.fail_on_recompile_limit_hit = True
            self._compute = torch.compile(self._make, mode="max-autotune", dynamic=False)
        self._graphed: dict[Shapes, Graphed] | None = {} if row.form == "graphed" else None
        self._memory: dict[Shapes, Tensors] = {}  # page-locked, for the inputs
        self._landing: dict[torch.Size, Tensor] = {}  # page-locked, for the images

    def __call__(self, inputs: Inputs) -> Images:
        return self._run(inputs, lambda: None)

    def split(self, inputs: Inputs) -> Split:
        marks: list[tuple[Any, float]] = []
        self._run(inputs, lambda: marks.append((self._clock.mark(), time.perf_counter())))
        copy_in, compute, copy_out = (self._clock.between_ms(a, b) for (a, _), (b, _) in itertools.pairwise(marks))
        return Split(copy_in, compute, copy_out, enqueue=(marks[-1][1] - marks[0][1]) * 1000)

    @torch.inference_mode()
    def _run(self, inputs: Inputs, mark: Callable[[], None]) -> Images:
        uploads = self._upload(inputs)
        mark()
        sources = {name: host.to(self._clock.device, non_blocking=True) for name, host in uploads.items()}
        mark()
        output = self._compute(sources) if self._graphed is None else self._replay(sources, self._graphed)
        mark()
        if output.shape not in self._landing:
            self._landing[output.shape] = self._clock.pinned(tuple(output.shape))
        download = self._landing[output.shape]
        download.copy_(output, non_blocking=True)
        mark()
        self._clock.wait()
        made: Images = download.numpy().copy()
        return made

    def _make(self, sources: Tensors) -> Tensor:
        return self._eager(*_in_order(sources))

    def _replay(self, sources: Tensors, graphed: dict[Shapes, Graphed]) -> Tensor:
        shapes = _shapes(sources)
        if shapes not in graphed:
            places = {name: source.clone() for name, source in sources.items()}
            compute = Recorded(lambda: self._make(places), lambda: self._record(places))
            graphed[shapes] = Graphed(places, compute)
        for name, place in graphed[shapes].places.items():
            place.copy_(sources[name])
        return graphed[shapes].compute()

    def _record(self, places: Tensors) -> Callable[[], Tensor]:
        replay, output = self._clock.record(lambda: self._make(places))

        def compute() -> Tensor:
            replay()
            return output

        return compute

    def _upload(self, inputs: Inputs) -> Tensors:
        """The inputs in page-locked memory."""
        given = {name: torch.from_numpy(array) for name, array in inputs.feeds.items()}
        shapes = _shapes(given)
        if shapes not in self._memory:
            self._memory[shapes] = {
                name: self._clock.pinned(tuple(one.shape), one.dtype) for name, one in given.items()
            }
        for name, place in self._memory[shapes].items():
            place.copy_(given[name])
        return self._memory[shapes]


def _shapes(tensors: Tensors) -> Shapes:
    return tuple(tuple(tensor.shape) for tensor in tensors.values())


def _layout(row: Row) -> torch.memory_format:
    return torch.contiguous_format if row.form == "eager" else torch.channels_last


def _open_generator(row: Row) -> Any:
    checkpoint = read_checkpoint(row.source)
    return open_model(checkpoint, checkpoint.domain_names).reference
