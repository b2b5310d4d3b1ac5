"""The clock in the frames of `live_age` and `page_age`: what is drawn is read back, and ages are counted from it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starcast.benchmarks.studies.live_age import BITS, Ages, Clock, draw_time, read_time


@given(st.integers(0, 2**BITS - 1), st.sampled_from([256, 128, 384]))
def test_a_time_is_read_back_from_a_frame_that_was_encoded_and_resized(milliseconds, size):
    encoded = cv2.imencode(".jpg", draw_time(milliseconds), [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    image = cv2.resize(cv2.imdecode(encoded, cv2.IMREAD_COLOR), (size, size), interpolation=cv2.INTER_AREA)
    assert read_time(image) == milliseconds


def test_an_age_counts_on_when_the_clock_begins_again(monkeypatch):
    monkeypatch.setattr("time.monotonic", lambda: (2**BITS + 40) / 1000)
    assert Clock().age_of(2**BITS - 60) == 100


def test_ages_are_percentiles_of_a_part():
    ages = Ages(Clock())
    ages.rows = [(second / 10, second) for second in range(100)]
    assert ages.between(0, 5) == {"frames": 50, "p50": 24.5, "p95": pytest.approx(46.55, abs=0.1), "p99": 48.5}
    assert ages.between(9, 99)["frames"] == 10
    assert np.isfinite(ages.between(9, 99)["p99"])
