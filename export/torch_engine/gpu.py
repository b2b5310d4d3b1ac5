"""A session of a torch graph on an NVIDIA GPU: page-locked host memory, and a CUDA graph for each shape.

The first run of a shape is plain, because cuDNN tries its algorithms and Triton compiles. The second is recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from starcast.export.torch_engine.graph import TorchGraph, failure
from starcast.runtime.engines.base import GpuTime, Session, closed_error
from starcast.runtime.nvidia.arrays import DeviceArray, View
from starcast.runtime.nvidia.driver import RECORDING
from starcast.runtime.nvidia.placement import is_on_gpu
from starcast.runtime.nvidia.recorded import MostRecent, Recorded

MOST_SHAPES = 8  # shapes whose memory and CUDA graphs are kept


class Cuda:
    """What we use of CUDA through torch. Tests replace it with a fake."""

    device = torch.device("cuda")
    _pool: Any = None

    def pinned(self, like: Tensor) -> Tensor:
        """Page-locked host memory for a tensor, which the GPU reads and writes directly."""
        return torch.empty_like(like, device="cpu", memory_format=torch.contiguous_format).pin_memory()

    def record(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Record a call as a CUDA graph. Returns a function that replays it, and the output that the replay writes.
        Copy the output before another graph runs, because all graphs share memory."""
        with RECORDING:  # all threads share torch's one recording stream
            graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            try:
                # other threads, which decode and encode, may ask the driver for memory meanwhile
                with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                    output = run()
            except BaseException:
                # torch leaves a failed recording half open: no other can begin in its memory, and its stream stays
                # this thread's current one
                self._pool = None
                torch.cuda.set_stream(stream)
                raise
        return graph.replay, output

    def wait(self) -> None:
        """Wait until the GPU has done all its work."""
        torch.cuda.current_stream().synchronize()

    def mark(self) -> Any:
        """Mark the moment when the GPU has done all the work queued so far."""
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def between_ms(self, first: Any, second: Any) -> float:
        """Milliseconds between two marks; wait for both first."""
        return float(first.elapsed_time(second))


class GpuSession(Session):
    """One graph on the GPU. Inputs may be NumPy arrays or on the GPU; the output is on the GPU if any input is."""

    def __init__(self, path: Path, graph: TorchGraph, cuda: Cuda) -> None:
        self._path = path
        self._graph: TorchGraph | None = graph
        self._cuda = cuda
        self._shapes: MostRecent[tuple[tuple[int, ...], ...], FixedShapes] = MostRecent(MOST_SHAPES)

    def run(self, feeds: Mapping[str, Any]) -> Any:
        with self._running() as graph:
            fixed = self._fixed(feeds, graph)
            result = fixed.run(feeds)
            if any(is_on_gpu(value) for value in feeds.values()):
                return self._hand_out(result.clone(memory_format=torch.contiguous_format))
            return fixed.download(result)

    def gpu_time(self, feeds: Mapping[str, Any]) -> GpuTime:
        with self._running() as graph:
            return self._fixed(feeds, graph).gpu_time(feeds)

    def close(self) -> None:
        self._shapes.clear()
        self._graph = None

    @contextmanager
    def _running(self) -> Iterator[TorchGraph]:
        """The graph, to run within the block, where torch's errors become EngineError."""
        if self._graph is None:
            raise closed_error(self._path)
        # no TF32, which has 10 mantissa bits: too few for the fp32 gate
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
        try:
            with torch.inference_mode(), exact:
                yield self._graph
        except _errors() as error:  # OutOfMemoryError is a RuntimeError
            self._shapes.clear()
            raise failure(self._path, error) from error

    def _fixed(self, feeds: Mapping[str, Any], graph: TorchGraph) -> FixedShapes:
        shapes = tuple(tuple(feeds[name].shape) for name in graph.inputs)
        return self._shapes.get(shapes, lambda: FixedShapes(graph, feeds, self._cuda))

    def _hand_out(self, tensor: Tensor) -> DeviceArray:
        """A finished array on the GPU, which keeps the tensor's memory alive."""
        self._cuda.wait()
        view = View(tensor.data_ptr(), tuple(tensor.shape), np.dtype(str(tensor.dtype).removeprefix("torch.")))
        return DeviceArray(view, [tensor].clear)


class FixedShapes:
    """A graph for one combination of its inputs' shapes, with memory for them on the GPU and on the host."""

    def __init__(self, graph: TorchGraph, feeds: Mapping[str, Any], cuda: Cuda) -> None:
        self._cuda = cuda
        self._inputs = {name: _tensor(feeds[name]).to(cuda.device, copy=True) for name in graph.inputs}
        self._pinned = {name: cuda.pinned(value) for name, value in self._inputs.items()}
        self._landing: Tensor | None = None  # for the output, in host memory
        # a plain first run per thread, because cuDNN's autotuning cache is per thread. Neither call may hold this
        # object, whose memory is freed with its last reference
        self._compute = Recorded(
            partial(graph, self._inputs), partial(_record, graph, self._inputs, cuda), per_thread=True
        )

    def run(self, feeds: Mapping[str, Any]) -> Tensor:
        """The output, on the GPU; copy it before the next run."""
        self._take(feeds)
        return self._compute()

    def gpu_time(self, feeds: Mapping[str, Any]) -> GpuTime:
        self._take(feeds)
        begun, start = self._cuda.mark(), time.perf_counter()
        self._compute()
        enqueue, ended = (time.perf_counter() - start) * 1000, self._cuda.mark()
        self._cuda.wait()
        return GpuTime(self._cuda.between_ms(begun, ended), enqueue)

    def download(self, result: Tensor) -> Any:
        """Copy a result to the host, as a NumPy array."""
        if self._landing is None:
            self._landing = self._cuda.pinned(result)
        self._landing.copy_(result, non_blocking=True)
        self._cuda.wait()
        return self._landing.numpy().copy()

    def _take(self, feeds: Mapping[str, Any]) -> None:
        for name, place in self._inputs.items():
            value = _tensor(feeds[name])
            place.copy_(value if value.is_cuda else self._pinned[name].copy_(value), non_blocking=True)


def _record(graph: TorchGraph, inputs: Mapping[str, Tensor], cuda: Cuda) -> Callable[[], Tensor] | None:
    try:
        replay, output = cuda.record(lambda: graph(inputs))
    except RuntimeError:  # another thread's work can break a recording, and a plain run gives the same result
        return None

    def compute() -> Tensor:
        replay()
        return output

    return compute


def _tensor(value: Any) -> Tensor:
    """Any array as a torch tensor on the same device, without a copy."""
    if not is_on_gpu(value):
        return torch.from_numpy(np.require(value, requirements=["C", "W"]))
    if hasattr(value, "__dlpack__"):  # preferred: it respects the stream in which the array is written
        return from_dlpack(value)
    theirs = value.__cuda_array_interface__.get("stream")
    if theirs is not None:  # torch ignores it
        torch.cuda.current_stream().wait_stream(_stream(theirs))
    return torch.as_tensor(value, device="cuda")


def _stream(number: int) -> torch.cuda.Stream:
    """A caller's stream by its handle. torch would misread 1 and 2, the default streams, as numbers of its own."""
    if number <= 2:
        return torch.cuda.default_stream()
    stream: torch.cuda.Stream = torch.cuda.ExternalStream(number)  # type: ignore[no-untyped-call]
    return stream


def _errors() -> tuple[type[Exception], ...]:
    """The exceptions of torch, and of Triton if it is installed."""
    try:
        from triton.errors import TritonError
    except ImportError:
        return RuntimeError, ValueError
    return RuntimeError, ValueError, TritonError
