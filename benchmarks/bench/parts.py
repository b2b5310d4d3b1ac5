"""The parts of a run on a GPU, copies and computation, timed by the device's own clock.

Engines copy in, compute and copy out in one call. So copies of as many bytes in page-locked memory are timed
separately, and the computation between the engine's CUDA events. ONNX Runtime records no events: its computation is a
call whose images are on the GPU and stay there, timed by the host's clock, which includes starting it.

In tests without a GPU, the CPU stands in for one; its marks come from the host's clock and say nothing about speed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from starcast.benchmarks.bench.method import Method
from starcast.benchmarks.bench.timing import Images, Split
from starcast.export.torch_engine.gpu import Cuda
from starcast.runtime.engines.base import GpuTime


class DeviceClock:
    """Marks in a device's current stream, reached in the order in which work was queued."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self._gpu = Cuda() if self.device.type == "cuda" else None

    def mark(self) -> Any:
        """A mark that the device reaches once it has done all the work queued so far."""
        return time.perf_counter() if self._gpu is None else self._gpu.mark()

    def between_ms(self, first: Any, second: Any) -> float:
        """Milliseconds between two marks; wait for both first."""
        return (second - first) * 1000 if self._gpu is None else self._gpu.between_ms(first, second)

    def wait(self) -> None:
        """Wait until the device has done all its work."""
        if self._gpu is not None:
            torch.cuda.synchronize()

    def record(self, run: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        """Record a call, on a GPU as a CUDA graph. Returns a function that replays it, and its output."""
        if self._gpu is not None:
            return self._gpu.record(run)
        output = run()
        return lambda: output.copy_(run()), output

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype = torch.uint8) -> Tensor:
        """Page-locked host memory, which a GPU reads and writes directly."""
        return torch.empty(shape, dtype=dtype, pin_memory=self._gpu is not None)


class EngineRun:
    """An engine's run, from images to images. `on_gpu`: the engine also accepts and returns images on the GPU.
    `gpu_time`: the engine's report of its compute time."""

    def __init__(
        self, run: Callable[[Any], Any], method: Method, *, on_gpu: bool,
        gpu_time: Callable[[Any], GpuTime | None] = lambda images: None,
    ) -> None:  # fmt: skip
        self._run = run
        self._gpu_time = gpu_time
        self._clock = DeviceClock(method.device)
        self._on_gpu = on_gpu and self._clock.device.type == "cuda"

    def __call__(self, images: Images) -> Images:
        translated: Images = self._run(images)
        return translated

    def split(self, images: Images) -> Split:
        uploaded, copy_in = self._copy(torch.from_numpy(images), self._clock.device)
        compute, enqueue = self._time_compute(uploaded) if self._on_gpu else (None, None)
        _, copy_out = self._copy(uploaded, torch.device("cpu"))
        return Split(copy_in, compute, copy_out, enqueue)

    def _time_compute(self, images: Tensor) -> tuple[float, float | None]:
        """Milliseconds of the computation, and of the host to start it (None if the engine does not report it)."""
        self._clock.wait()
        reported = self._gpu_time(images)
        if reported is not None:
            return reported.compute, reported.enqueue
        start = time.perf_counter()
        self._run(images)  # returns when the GPU is done
        return (time.perf_counter() - start) * 1000, None

    def _copy(self, source: Tensor, device: torch.device) -> tuple[Tensor, float]:
        """A copy on the device, and the milliseconds of the transfer through page-locked memory."""
        host = self._clock.pinned(tuple(source.shape))
        if device.type != "cpu":
            host.copy_(source)
            source, target = host, torch.empty_like(source, device=device)
        else:
            target = host
        start = self._clock.mark()
        target.copy_(source, non_blocking=True)
        end = self._clock.mark()
        self._clock.wait()
        return target, self._clock.between_ms(start, end)
