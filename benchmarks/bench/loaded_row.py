"""A row's loaded model: what it translates, and how long the parts of one run take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Translate = Callable[[Images], Images]


@dataclass(frozen=True)
class Split:
    """Milliseconds of one run's parts. `compute` is None for an engine that takes no images on the GPU. `enqueue`, the
    host's time to start the computation, is None for an engine that does not report it."""

    copy_in: float
    compute: float | None
    copy_out: float
    enqueue: float | None


class Run(Protocol):
    """A loaded row."""

    def __call__(self, images: Images) -> Images:
        """Translate images uint8 [N, H, W, 3], host to host."""

    def split(self, images: Images) -> Split:
        """Time the parts of one run; only rows on a GPU can."""


@dataclass(frozen=True)
class CpuRun:
    """A run that has no parts."""

    translate: Translate

    def __call__(self, images: Images) -> Images:
        return self.translate(images)

    def split(self, images: Images) -> Split:
        raise NotImplementedError("a run on the CPU has no copies to split off")
