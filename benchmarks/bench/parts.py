"""The parts of a run on a GPU, copies and computation, timed by the device's own clock.

Engines copy in, compute and copy out in one call. So copies of as many bytes in page-locked memory are timed
separately, and the computation between the engine's CUDA events. ONNX Runtime records no events: its computation is a
call whose images and noise are on the GPU and stay there, timed by the host's clock, which includes starting it.

In tests without a GPU, the CPU stands in for one; its marks come from the host's clock and say nothing about speed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from starcast.benchmarks.bench.inputs import STYLE, Inputs
from starcast.benchmarks.bench.method import Method
from starcast.benchmarks.bench.timing import Images, Make, Split
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
    """An engine's run, from inputs to images. `on_gpu`: the engine also accepts and returns arrays on the GPU.
    `compute`: a run that leaves the images there; default: `make`. `gpu_time`: the engine's report of its compute
    time."""

    def __init__(
        self, make: Make, method: Method, *, on_gpu: bool, compute: Callable[[Inputs], object] | None = None,
        gpu_time: Callable[[Inputs], GpuTime | None] = lambda inputs: None,
    ) -> None:  # fmt: skip
        self._make = make
        self._compute = compute or make
        self._gpu_time = gpu_time
        self._clock = DeviceClock(method.device)
        self._on_gpu = on_gpu and self._clock.device.type == "cuda"
        self._output: tuple[int, ...] | None = None  # the last images' shape

    def __call__(self, inputs: Inputs) -> Images:
        images = self._make(inputs)
        self._output = images.shape
        return images

    def split(self, inputs: Inputs) -> Split:
        made = self._output or self(inputs).shape
        uploads = {name: self._upload(array) for name, array in inputs.feeds.items()}
        # the styles stay on the host, where a bundle's product graph may read them
        uploaded = inputs.with_feeds({**{name: array for name, (array, _) in uploads.items()}, STYLE: inputs.styles})
        compute, enqueue = self._time_compute(uploaded) if self._on_gpu else (None, None)
        images = torch.empty(made, dtype=torch.uint8, device=self._clock.device)
        copy_out = self._time_copy(images, self._clock.pinned(made))
        return Split(sum(copy_in for _, copy_in in uploads.values()), compute, copy_out, enqueue)

    def _time_compute(self, inputs: Inputs) -> tuple[float, float | None]:
        """Milliseconds of the computation, and of the host to start it (None if the engine does not report it)."""
        self._clock.wait()
        reported = self._gpu_time(inputs)
        if reported is not None:
            return reported.compute, reported.enqueue
        start = time.perf_counter()
        self._compute(inputs)  # returns when the GPU is done
        return (time.perf_counter() - start) * 1000, None

    def _upload(self, array: NDArray[Any]) -> tuple[Tensor, float]:
        """An array on the device, and the milliseconds of its transfer from page-locked memory."""
        source = torch.from_numpy(np.require(array, requirements=["C", "W"]))
        host = self._clock.pinned(tuple(source.shape), source.dtype)
        host.copy_(source)
        target = torch.empty_like(source, device=self._clock.device)
        return target, self._time_copy(host, target)

    def _time_copy(self, source: Tensor, target: Tensor) -> float:
        """Milliseconds of a copy between the device and page-locked memory."""
        start = self._clock.mark()
        target.copy_(source, non_blocking=True)
        end = self._clock.mark()
        self._clock.wait()
        return self._clock.between_ms(start, end)
