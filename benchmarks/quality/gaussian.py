"""A Gaussian fitted to images' principal components: a model that has learnt more than a blur must beat it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.quality.measures import Images

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ImageGaussian:
    """The mean (H, W, 3), the components (K, H * W * 3) of unit length, widest first, and their deviations (K,)."""

    mean: Floats
    components: Floats
    deviations: Floats

    def sample(self, count: int, components: int, seed: int) -> Images:
        """Images uint8 (count, H, W, 3), drawn along the first components only."""
        normal = np.random.default_rng(seed).standard_normal((count, components), np.float32)
        moved = (normal * self.deviations[:components]) @ self.components[:components]
        levels = self.mean + moved.reshape(count, *self.mean.shape)
        return np.asarray(np.rint(levels).clip(0, 255), np.uint8)


def fit_gaussian(images: Images) -> ImageGaussian:
    """Fit to images (N, H, W, 3). It has min(N, H * W * 3) components."""
    mean = images.mean(axis=0, dtype=np.float64).astype(np.float32)
    rows = (images - mean).reshape(len(images), -1)
    _, lengths, components = np.linalg.svd(rows, full_matrices=False)
    deviations = lengths / math.sqrt(len(images) - 1)
    return ImageGaussian(mean, components, deviations.astype(np.float32))
