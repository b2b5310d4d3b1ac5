"""FID and KID by torchmetrics, tested against the official program's formula and torchmetrics' own classes."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

from starcast.benchmarks.quality import distances
from starcast.benchmarks.quality.distances import Frechet, kernel_distance


def _official(first, second):
    """numpy's covariances and the real part of scipy's matrix root, in float64."""
    one, two = (np.cov(rows.astype(np.float64), rowvar=False) for rows in (first, second))
    between = first.mean(axis=0, dtype=np.float64) - second.mean(axis=0, dtype=np.float64)
    return float(np.real((between**2).sum() + np.trace(one + two - 2 * scipy.linalg.sqrtm(one @ two))))


def _features(count, width, seed, shift=0.0):
    return (np.random.RandomState(seed).gamma(0.4, 1.0, (count, width)) + shift).astype(np.float32)


@pytest.mark.parametrize(("count", "width"), [(24, 16), (400, 60), (30, 40)], ids=["oracle", "many", "singular"])
def test_the_distance_is_that_of_the_official_program_however_it_comes_in_parts(count, width):
    real, generated = _features(count, width, 1), _features(count + 7, width, 2, shift=0.1)
    frechet = Frechet(np.array_split(real, 3), width)
    expected = _official(real, generated)
    tolerance = 1e-9 if count > width else 1e-5
    assert frechet([generated]) == pytest.approx(expected, rel=tolerance)
    assert frechet(np.array_split(generated, 5)) == pytest.approx(expected, rel=tolerance)


def test_a_constant_far_from_zero_does_not_cost_the_digits_that_the_tolerance_needs():
    real, generated = _features(200, 8, 3, shift=50), _features(200, 8, 4, shift=50)
    assert Frechet([real], 8)([generated]) == pytest.approx(_official(real, generated), rel=1e-6)


@pytest.mark.parametrize(("real", "generated"), [(1, 5), (5, 1), (0, 5)])
def test_fewer_than_two_images_have_no_distance(real, generated):
    assert Frechet([_features(real, 4, 1)], 4)([_features(generated, 4, 2)]) is None
    assert kernel_distance(_features(real, 4, 1), _features(generated, 4, 2), seed=0) is None


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save:UserWarning")
def test_kid_of_whole_sets_is_that_of_torchmetrics():
    from torchmetrics.image.kid import KernelInceptionDistance

    real, generated = _features(40, 12, 5), _features(40, 12, 6, shift=0.2)
    network = nn.Identity()
    network.num_features = 12
    metric = KernelInceptionDistance(feature=network, subsets=1, subset_size=40)
    metric.update(torch.from_numpy(real).double(), real=True)
    metric.update(torch.from_numpy(generated).double(), real=False)
    assert kernel_distance(real, generated, seed=0) == pytest.approx(float(metric.compute()[0]), rel=1e-9)


def test_kid_of_subsets_is_near_that_of_the_whole_sets_and_depends_on_the_seed_alone(monkeypatch):
    real, generated = _features(300, 12, 7), _features(300, 12, 8, shift=0.2)
    whole = kernel_distance(real, generated, seed=0)
    monkeypatch.setattr(distances, "SUBSET", 100)
    some = kernel_distance(real, generated, seed=0)
    assert some == pytest.approx(whole, rel=0.1)
    assert some == kernel_distance(real, generated, seed=0) != kernel_distance(real, generated, seed=1)
