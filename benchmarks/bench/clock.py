"""Time on a card: marks that the card itself passes, so that a copy and a calculation are told apart.

The processor stands in for a card where there is none: its marks are the host's clock. It says nothing of speed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from starcast.export.torch_engine.gpu import Card


class CardClock:
    """Marks in the current stream of a device, in the order in which the work was given to it."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self._card = Card()
        self._real = self.device.type == "cuda"

    def mark(self) -> Any:
        """A moment: when the card has done all that it was given before."""
        if not self._real:
            return time.perf_counter()
        return self._card.mark()

    def between_ms(self, first: Any, second: Any) -> float:
        """Milliseconds between two marks that have been waited for."""
        return self._card.between_ms(first, second) if self._real else (second - first) * 1000

    def wait(self) -> None:
        """Until the card has done everything."""
        if self._real:
            torch.cuda.synchronize()

    def recorded(self, run: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        """What runs a call again, on a card as a CUDA graph, and the output that it then writes into."""
        if self._real:
            return self._card.record(run)
        output = run()
        return lambda: output.copy_(run()), output

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype = torch.uint8) -> Tensor:
        """Host memory that the card copies from and to on its own."""
        return torch.empty(shape, dtype=dtype, pin_memory=self._real)
