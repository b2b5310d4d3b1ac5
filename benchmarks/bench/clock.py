"""A device's own clock: marks that it passes, so that a copy and a computation are told apart.

Where there is no GPU, the CPU stands in for one in tests: its marks are the host's clock, and say nothing about speed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from starcast.export.torch_engine.gpu import Cuda


class DeviceClock:
    """Marks in the current stream of a device, passed in the order in which its work was queued."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self._gpu = Cuda() if self.device.type == "cuda" else None

    def mark(self) -> Any:
        """The moment when the device has done all the work queued so far."""
        return time.perf_counter() if self._gpu is None else self._gpu.mark()

    def between_ms(self, first: Any, second: Any) -> float:
        """Milliseconds between two marks that have been waited for."""
        return (second - first) * 1000 if self._gpu is None else self._gpu.between_ms(first, second)

    def wait(self) -> None:
        """Wait until the device has done all its work."""
        if self._gpu is not None:
            torch.cuda.synchronize()

    def record(self, run: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        """Record a call, on a GPU as a CUDA graph. Returns what replays it, and the output it then writes."""
        if self._gpu is not None:
            return self._gpu.record(run)
        output = run()
        return lambda: output.copy_(run()), output

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype = torch.uint8) -> Tensor:
        """Host memory that a GPU copies from and to by itself."""
        return torch.empty(shape, dtype=dtype, pin_memory=self._gpu is not None)
