"""Whether a row gives the baseline's images: a fast wrong answer is no result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.bench.rows import Row
from starcast.export.gate.parity import LEVELS
from starcast.export.gate.quality import EQUAL, psnr
from starcast.export.precisions import PRECISIONS


@dataclass(frozen=True)
class Difference:
    """How far images are from the baseline's: the mean PSNR in dB, None if all are equal, and the worst pixel in grey
    levels."""

    psnr: float | None
    levels: int


def difference(images: NDArray[np.uint8], expected: NDArray[np.uint8]) -> Difference:
    """Compare uint8 arrays [N, H, W, 3]."""
    levels = int(np.abs(images.astype(np.int16) - expected.astype(np.int16)).max())
    if levels == 0:
        return Difference(None, 0)
    return Difference(float(np.mean([psnr(*pair) for pair in zip(images, expected, strict=True)])), levels)


def fault(row: Row, measured: Difference) -> str | None:
    """How a row misses its precision's gate, in words, or None."""
    precision = PRECISIONS.get(row.precision)  # eager PyTorch has TF32 as well, which is compared as float32 is
    if precision is None or precision.gate is None:
        wrong = measured.levels > LEVELS
        return f"differs from eager by {measured.levels} grey levels ({LEVELS} allowed)" if wrong else None
    least, reached = precision.gate.mean, EQUAL if measured.psnr is None else measured.psnr
    return f"{reached:.1f} dB beside eager float32 ({least:g} wanted)" if reached < least else None
