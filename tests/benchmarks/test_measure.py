"""Rows are paired round by round, and one that cannot run says so."""

from __future__ import annotations

import numpy as np
import pytest

from starcast.benchmarks.measure import Measured, measure, ratio
from starcast.benchmarks.report import speed_table, speed_warnings
from starcast.benchmarks.rows import Row, pictures
from starcast.errors import EngineError


def measured(engine, seconds, tmp_path, batch=1):
    row = Row(engine=engine, checkpoint=tmp_path / "c.pt", bundle=tmp_path / "b", batch=batch)
    return Measured(row=row, seconds=tuple(seconds), levels=1, share_equal=0.99)


def test_a_ratio_is_taken_within_each_round(tmp_path):
    # the machine slowed down fourfold in the second round: the unpaired medians would give 2.5
    eager, ours = measured("eager", (1.0, 4.0, 1.0), tmp_path), measured("openvino", (0.5, 1.0, 0.4), tmp_path)
    paired = ratio(ours, eager)
    assert (paired.median, paired.least, paired.greatest) == pytest.approx((2.5, 2.0, 4.0))


def test_the_baseline_is_once_as_fast_as_itself(tmp_path):
    eager = measured("eager", (1.0, 3.0, 2.0), tmp_path)
    assert speed_table([eager])[0]["ratio"] == "1.00"


def test_images_per_second_count_the_batch(tmp_path):
    assert measured("eager", (0.5,), tmp_path, batch=4).images_per_second == pytest.approx(8.0)


def test_rounds_that_spread_are_doubted_and_steady_ones_are_not(tmp_path):
    unsteady, steady = measured("eager", (1, 1.5, 2, 1, 2), tmp_path), measured("openvino", (1, 1.01, 1), tmp_path)
    assert len(speed_warnings([unsteady, steady])) == 1


def test_the_pictures_are_the_same_each_time_and_textured():
    first = pictures(64, 32, 2)
    assert first.shape == (2, 64, 32, 3)
    assert np.array_equal(first, pictures(64, 32, 2))
    assert first.std() > 30


def test_a_row_that_cannot_be_opened_is_named_with_the_reason(tmp_path):
    row = Row(engine="openvino", checkpoint=tmp_path / "c.pt", bundle=tmp_path / "nothing")
    with pytest.raises(EngineError, match=r"bundle on OpenVINO stopped .*nothing.* --rows"):
        measure([row], rounds=1)


def test_a_bundle_is_measured_in_a_process_of_its_own(tiny_bundle, tmp_path):
    row = Row(engine="onnxruntime", checkpoint=tmp_path / "c.pt", bundle=tiny_bundle)
    (only,) = measure([row], rounds=2)
    assert len(only.seconds) == 2
    assert only.levels == 0
