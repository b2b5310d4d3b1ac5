from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starcast.benchmarks.quality.frechet import frechet_distance


def rows_with(mean: list[float], deviations: list[float]) -> np.ndarray:
    """Rows whose mean and covariance are exactly these: two on each axis, opposite each other."""
    size = len(mean)
    corners = np.vstack([np.eye(size), -np.eye(size)]) * math.sqrt((2 * size - 1) / 2)
    return corners * deviations + mean


def test_between_axis_aligned_gaussians_it_is_the_distance_of_means_and_deviations():
    """Closed form where the covariances commute: |m1 - m2|^2 + |s1 - s2|^2."""
    first, second = rows_with([0, 1, 2], [1, 2, 3]), rows_with([3, 1, -2], [4, 2, 0.5])
    assert np.allclose(np.cov(second, rowvar=False), np.diag([16, 4, 0.25]))
    assert frechet_distance(first, second) == pytest.approx(9 + 0 + 16 + 9 + 0 + 6.25)


def test_between_covariances_that_do_not_commute_it_is_the_closed_form_of_two_dimensions():
    """In two dimensions the trace of the root of P is sqrt(tr P + 2 sqrt(det P))."""
    draws = np.random.default_rng(0)
    first, second = draws.normal(size=(50, 2)) @ [[2, 1], [0, 1]], draws.normal(size=(40, 2)) @ [[1, 0], [-3, 0.5]]
    a, b = np.cov(first.T), np.cov(second.T)
    shared = math.sqrt(np.trace(a @ b) + 2 * math.sqrt(np.linalg.det(a @ b)))
    wanted = np.sum((first.mean(0) - second.mean(0)) ** 2) + np.trace(a) + np.trace(b) - 2 * shared
    assert frechet_distance(first, second) == pytest.approx(wanted)
    assert frechet_distance(second, first) == pytest.approx(wanted)


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(2, 20))
def test_of_equal_sets_it_is_zero_and_a_shift_adds_its_square(seed, size, count):
    draws = np.random.default_rng(seed)  # also fewer rows than columns, whose covariance is singular
    rows, shift = draws.normal(size=(count, size)), draws.normal(size=size)
    assert frechet_distance(rows, rows) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(rows, rows + shift) == pytest.approx(float(shift @ shift), abs=1e-6)
