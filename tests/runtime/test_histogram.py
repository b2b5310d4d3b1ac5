from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starcast.runtime.histogram import Histogram

SECONDS = st.floats(1e-8, 1e4)


@given(st.lists(st.tuples(SECONDS, st.integers(1, 50)), min_size=1, max_size=60), st.sampled_from([1, 50, 95, 99, 100]))
def test_percentiles_are_right_within_two_percent(counted, percent):
    histogram = Histogram()
    for value, count in counted:
        histogram.add(value, count)
    every = np.repeat([value for value, _ in counted], [count for _, count in counted])
    exact = np.percentile(every, percent, method="inverted_cdf")
    assert histogram.count == len(every)
    assert histogram.percentile(percent) == pytest.approx(exact, rel=0.02)


def test_memory_does_not_grow_with_the_number_of_values():
    histogram = Histogram()
    for value in np.geomspace(1e-9, 86_400, 20_000):
        histogram.add(float(value))
    assert len(histogram._bins) < 1700


def test_without_values_a_percentile_is_zero():
    assert Histogram().percentile(50) == 0.0


def test_a_duration_of_zero_counts():
    histogram = Histogram()
    histogram.add(0.0)
    assert histogram.count == 1
    assert histogram.percentile(99) < 1e-8
