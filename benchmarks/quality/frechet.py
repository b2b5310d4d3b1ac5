"""The Fréchet distance between two sets of features, each seen as a Gaussian, as in Heusel et al. 2017."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float64]  # (N, D)


def frechet_distance(first: Features, second: Features) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), for means and unbiased covariances of at least two rows each."""
    between = first.mean(axis=0) - second.mean(axis=0)
    here, there = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (first, second))
    root = _square_root(here)
    # C1^(1/2) C2 C1^(1/2) is symmetric and has the eigenvalues of C1 C2
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ there @ root), 0, None)).sum()
    return float(between @ between + np.trace(here) + np.trace(there) - 2 * shared)


def _square_root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance)
    root: NDArray[np.float64] = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return root
