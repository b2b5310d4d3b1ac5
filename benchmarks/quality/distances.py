"""Distances between two sets of features, by torchmetrics: Fréchet's (FID) and the kernel one (KID).

Rows of features come in parts, so that a set of any size takes no more memory than a part and its covariance.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Floats = NDArray[np.float32]

SUBSETS, SUBSET = 100, 1000  # of KID, as its authors have it, and torchmetrics by default


class Frechet:
    """The Fréchet distance of sets to one real set, whose mean and covariance are computed once, in float64.

    Equals the official program's: numpy's covariance and the real part of scipy's matrix root.
    """

    def __init__(self, real: Iterable[Floats], width: int) -> None:
        """`real`: parts of the real features, each (N, width)."""
        from torchmetrics.image.fid import FrechetInceptionDistance

        self._metric = FrechetInceptionDistance(feature=_Features(width), reset_real_features=False)
        self._real = self._update(real, is_real=True)

    def __call__(self, generated: Iterable[Floats]) -> float | None:
        """The distance of a set, given in parts; None unless both sets have at least two rows."""
        self._metric.reset()
        count = self._update(generated, is_real=False)
        return float(self._metric.compute()) if min(count, self._real) > 1 else None

    def _update(self, parts: Iterable[Floats], *, is_real: bool) -> int:
        count = 0
        for part in parts:
            if len(part):
                self._metric.update(torch.from_numpy(np.asarray(part, np.float64)), real=is_real)
                count += len(part)
        return count


class _Features(nn.Module):
    """In place of torchmetrics' network: its inputs are already features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features


def kernel_distance(real: Floats, generated: Floats, seed: int) -> float | None:
    """The mean of KID (Bińkowski et al. 2018) over random subsets of both sets; None if one has fewer than two rows.

    Cubic kernel, unbiased, in float64. The arrays may be memory maps: only a subset's rows are read at a time.
    """
    from torchmetrics.image.kid import poly_mmd

    size = min(SUBSET, len(real), len(generated))
    if size < 2:
        return None
    draws = np.random.RandomState([seed, 2])
    once = size == len(real) == len(generated)  # every subset is the whole of both sets
    values = []
    for _ in range(1 if once else SUBSETS):
        some, others = (_some_rows(rows, size, draws) for rows in (real, generated))
        values.append(float(poly_mmd(some, others)))
    return float(np.mean(values))


def _some_rows(rows: Floats, count: int, draws: np.random.RandomState) -> Tensor:
    return torch.from_numpy(np.asarray(rows[np.sort(draws.permutation(len(rows))[:count])], np.float64))
