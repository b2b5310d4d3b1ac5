"""A row of an engine on a GPU, whose run's parts are timed apart.

Engines copy in, compute and copy out in one call. So their copies are timed alone, with as many bytes in page-locked
memory, and their computation between CUDA events of the engine. ONNX Runtime sets none: its computation is a call with
images that are on the GPU and stay there, timed by the host's clock, which includes starting it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from starcast.benchmarks.bench.clock import DeviceClock
from starcast.benchmarks.bench.loaded_row import Images, Split
from starcast.benchmarks.bench.method import Method
from starcast.runtime.engines.base import GpuTime


class EngineRun:
    """A function from images to images, which may be on the GPU if `on_gpu`. `gpu_time` is what the engine itself
    reports about the time it takes for them."""

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
        """Milliseconds of the computation, and of the host until it has started it."""
        self._clock.wait()
        reported = self._gpu_time(images)
        if reported is not None:
            return reported.compute, reported.enqueue
        start = time.perf_counter()
        self._run(images)  # returns when the GPU is done
        return (time.perf_counter() - start) * 1000, None

    def _copy(self, source: Tensor, device: torch.device) -> tuple[Tensor, float]:
        """A copy in the other memory, and milliseconds of the transfer through page-locked memory."""
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
