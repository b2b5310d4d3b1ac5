"""A frame from a live source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Captured:
    """One frame. `at`: when it was captured, by time.monotonic. `decode` makes RGB uint8 [H, W, 3] of it; it is called
    for frames that are translated only, because most of a fast source's frames are dropped."""

    number: int
    at: float
    decode: Callable[[], Image]


@dataclass(frozen=True)
class Translated:
    """The translation of a captured frame. `source` is what the model got. `engine_s`: how long the model took."""

    number: int
    at: float
    image: Image
    source: Image
    engine_s: float
