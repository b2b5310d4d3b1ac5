"""A graph of torch's on an NVIDIA card: page-locked host memory, and a CUDA graph for each shape.

The first run of a shape is a plain one: cuDNN tries its algorithms and Triton compiles. The second is recorded, and
from then on the host only starts the record.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from starcast.export.torch_engine.graph import TorchGraph, failure
from starcast.runtime.engines.base import GpuTime, Session, closed_error
from starcast.runtime.nvidia.arrays import DeviceArray, View, is_on_gpu
from starcast.runtime.nvidia.driver import RECORDING

MOST_SHAPES = 8  # whose records are kept
RECORDINGS = 2  # tries at one


class Card:
    """What is asked of CUDA. Tests put another one in its place."""

    device = torch.device("cuda")
    _pool: Any = None

    def pinned(self, like: Tensor) -> Tensor:
        """Host memory for a tensor, that the card copies from and to on its own."""
        return torch.empty_like(like, device="cpu", memory_format=torch.contiguous_format).pin_memory()

    def record(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """What runs a recorded call again, and the output that it then writes into: to be copied before another record
        runs, as all share their memory."""
        with RECORDING:  # torch does so in one stream, whatever the thread
            record, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            try:
                # other threads, which decode and encode, may ask the driver for memory meanwhile
                with torch.cuda.graph(record, pool=self._pool, capture_error_mode="thread_local"):
                    output = run()
            except BaseException:
                # torch leaves a recording that was spoiled half open: no other one can begin in its memory, and its
                # stream is this thread's
                self._pool = None
                torch.cuda.set_stream(stream)
                raise
        return record.replay, output

    def wait(self) -> None:
        """Until all that was asked for is done."""
        torch.cuda.current_stream().synchronize()

    def mark(self) -> Any:
        """A moment: when the card has done all that it was given before."""
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def between_ms(self, first: Any, second: Any) -> float:
        """Milliseconds between two marks that have been waited for."""
        return float(first.elapsed_time(second))


class GpuSession(Session):
    """One graph on the card. Arrays may be numpy's or on the card; the output is on the card if one of them is."""

    def __init__(self, path: Path, graph: TorchGraph, card: Card) -> None:
        self._path = path
        self._graph: TorchGraph | None = graph
        self._card = card
        self._shapes: OrderedDict[tuple[tuple[int, ...], ...], Recorded] = OrderedDict()

    def run(self, feeds: Mapping[str, Any]) -> Any:
        with self._running() as graph:
            recorded = self._recorded(feeds, graph)
            result = recorded.run(feeds)
            if any(is_on_gpu(value) for value in feeds.values()):
                return self._given_out(result.clone(memory_format=torch.contiguous_format))
            return recorded.landed(result)

    def gpu_time(self, feeds: Mapping[str, Any]) -> GpuTime:
        with self._running() as graph:
            return self._recorded(feeds, graph).gpu_time(feeds)

    def close(self) -> None:
        self._shapes.clear()
        self._graph = None

    @contextmanager
    def _running(self) -> Iterator[TorchGraph]:
        """The graph, to be run within the block; what torch raises there is raised as EngineError."""
        if self._graph is None:
            raise closed_error(self._path)
        # float32 is float32: TF32 has 10 bits, which the gate of fp32 does not allow
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
        try:
            with torch.inference_mode(), exact:
                yield self._graph
        except _errors() as error:  # OutOfMemoryError is a RuntimeError
            self._shapes.clear()
            raise failure(self._path, error) from error

    def _recorded(self, feeds: Mapping[str, Any], graph: TorchGraph) -> Recorded:
        shapes = tuple(tuple(feeds[name].shape) for name in graph.inputs)
        if shapes not in self._shapes:
            if len(self._shapes) == MOST_SHAPES:
                self._shapes.popitem(last=False)
            self._shapes[shapes] = Recorded(graph, feeds, self._card)
        self._shapes.move_to_end(shapes)
        return self._shapes[shapes]

    def _given_out(self, tensor: Tensor) -> DeviceArray:
        """An array on the card that is whole, and holds the tensor's memory."""
        self._card.wait()
        view = View(tensor.data_ptr(), tuple(tensor.shape), np.dtype(str(tensor.dtype).removeprefix("torch.")))
        return DeviceArray(view, [tensor].clear)


class Recorded:
    """A graph for one shape of its inputs."""

    def __init__(self, graph: TorchGraph, feeds: Mapping[str, Any], card: Card) -> None:
        self._graph = graph
        self._card = card
        self._inputs = {name: _tensor(feeds[name]).to(card.device, copy=True) for name in graph.inputs}
        self._pinned = {name: card.pinned(value) for name, value in self._inputs.items()}
        self._landing: Tensor | None = None  # for the output, in host memory
        self._known: set[int] = set()  # threads: what cuDNN tried, it knows in the same thread alone
        self._record: tuple[Callable[[], None], Tensor] | None = None
        self._recordings = RECORDINGS

    def run(self, feeds: Mapping[str, Any]) -> Tensor:
        """The output, on the card: to be copied before the next run."""
        self._take(feeds)
        return self._calculate()

    def gpu_time(self, feeds: Mapping[str, Any]) -> GpuTime:
        self._take(feeds)
        begun, start = self._card.mark(), time.perf_counter()
        self._calculate()
        enqueue, ended = (time.perf_counter() - start) * 1000, self._card.mark()
        self._card.wait()
        return GpuTime(self._card.between_ms(begun, ended), enqueue)

    def _take(self, feeds: Mapping[str, Any]) -> None:
        for name, place in self._inputs.items():
            value = _tensor(feeds[name])
            place.copy_(value if value.is_cuda else self._pinned[name].copy_(value), non_blocking=True)

    def _calculate(self) -> Tensor:
        thread = threading.get_ident()
        if self._record is None and thread in self._known and self._recordings:
            self._recordings -= 1
            with suppress(RuntimeError):  # another thread's work may spoil it, and a plain run is as right
                self._record = self._card.record(lambda: self._graph(self._inputs))
        if self._record is None:
            self._known.add(thread)
            return self._graph(self._inputs)
        replay, output = self._record
        replay()
        return output

    def landed(self, result: Tensor) -> Any:
        """A copy in host memory, numpy's."""
        if self._landing is None:
            self._landing = self._card.pinned(result)
        self._landing.copy_(result, non_blocking=True)
        self._card.wait()
        return self._landing.numpy().copy()


def _tensor(value: Any) -> Tensor:
    """Any array as torch's, where it is, without a copy."""
    if not is_on_gpu(value):
        return torch.from_numpy(np.require(value, requirements=["C", "W"]))
    if hasattr(value, "__dlpack__"):  # first: it has the stream in which the array is written
        return from_dlpack(value)
    theirs = value.__cuda_array_interface__.get("stream")
    if theirs is not None:  # torch does not look at it
        torch.cuda.current_stream().wait_stream(_stream(theirs))
    return torch.as_tensor(value, device="cuda")


def _stream(number: int) -> torch.cuda.Stream:
    """Someone's stream by its handle; those of the default streams, 1 and 2, torch takes for numbers of its own."""
    if number <= 2:
        return torch.cuda.default_stream()
    found: torch.cuda.Stream = torch.cuda.ExternalStream(number)  # type: ignore[no-untyped-call]
    return found


def _errors() -> tuple[type[Exception], ...]:
    """What torch raises, and Triton where it is installed."""
    try:
        from triton.errors import TritonError
    except ImportError:
        return RuntimeError, ValueError
    return RuntimeError, ValueError, TritonError
