from __future__ import annotations

import numpy as np
import pytest

from starcast.benchmarks.quality.gaussian import fit_gaussian

SIDE = 4
FLAT = SIDE * SIDE * 3


def stripes_and_colours(count: int) -> np.ndarray:
    """Grey 120 plus two independent patterns of deviation 24 and 8 at each value: stripes, and red against blue."""
    draws = np.random.default_rng(0)
    stripes = np.tile([1.0, -1.0], FLAT // 2).reshape(3, SIDE, SIDE).transpose(1, 2, 0)
    colours = np.broadcast_to([1.0, 0.0, -1.0], (SIDE, SIDE, 3)) * np.sqrt(1.5)
    images = 120 + draws.normal(0, 24, (count, 1, 1, 1)) * stripes + draws.normal(0, 8, (count, 1, 1, 1)) * colours
    return np.rint(images).clip(0, 255).astype(np.uint8)


def test_components_are_the_patterns_that_the_images_vary_in():
    gaussian = fit_gaussian(stripes_and_colours(4000))
    assert gaussian.mean == pytest.approx(np.full((SIDE, SIDE, 3), 120), abs=1.5)
    lengths = np.sqrt(FLAT)  # a pattern of deviation 1 at each value is this long
    assert gaussian.deviations[:2] == pytest.approx([24 * lengths, 8 * lengths], rel=0.05)
    assert gaussian.deviations[2] < 2  # rounding alone: 1 / sqrt(12), the same in up to 16 values
    assert np.abs(gaussian.components @ gaussian.components.T - np.eye(FLAT)).max() < 1e-4


def test_samples_have_the_moments_of_the_images():
    images = stripes_and_colours(4000)
    samples = fit_gaussian(images).sample(4000, FLAT, seed=1)
    assert samples.shape == images.shape
    assert samples.dtype == np.uint8
    wanted, sampled = (values.reshape(len(values), -1).astype(float) for values in (images, samples))
    assert sampled.mean(0) == pytest.approx(wanted.mean(0), abs=2)  # 5 standard errors of a mean
    assert np.cov(sampled.T) == pytest.approx(np.cov(wanted.T), abs=50)  # of 640 on the diagonal


def test_fewer_components_give_samples_that_vary_only_along_these():
    samples = fit_gaussian(stripes_and_colours(500)).sample(300, 1, seed=0).astype(float)
    red_against_blue = (samples[..., 0] - samples[..., 2]).mean((1, 2))
    assert red_against_blue.std() < 1
    assert samples[:, 0, 0, 0].std() > 20


def test_there_are_no_more_components_than_images():
    gaussian = fit_gaussian(stripes_and_colours(5))
    assert gaussian.components.shape == (5, FLAT)
    assert gaussian.sample(2, 5, seed=0).shape == (2, SIDE, SIDE, 3)
