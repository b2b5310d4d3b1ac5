"""A row is a result only if its pictures are eager's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from measured_rows import row

from starcast.benchmarks.bench.result import Difference, difference, fault


def test_equal_pictures_have_no_psnr():
    picture = np.full((2, 4, 4, 3), 7, np.uint8)
    assert difference(picture, picture.copy()) == Difference(None, 0)


def test_a_difference_is_counted_without_wrapping_around_at_0_and_255():
    black, white = np.zeros((1, 4, 4, 3), np.uint8), np.full((1, 4, 4, 3), 255, np.uint8)
    assert difference(black, white) == Difference(0.0, 255)
    assert difference(white, black) == Difference(0.0, 255)


def test_psnr_is_the_mean_over_the_pictures():
    expected = np.zeros((2, 8, 8, 3), np.uint8)
    pictures = expected.copy()
    pictures[0] += 1  # 20 log10(255 / 1)
    pictures[1] += 10  # 20 log10(255 / 10), 20 dB less
    assert difference(pictures, expected).psnr == pytest.approx(20 * math.log10(255) - 10)


@pytest.mark.parametrize(
    ("precision", "psnr", "levels", "wrong"),
    [
        ("fp32", None, 0, None),
        ("fp32", 90.0, 1, None),
        ("fp32", 90.0, 2, "2 grey levels"),
        ("bf16", 40.0, 9, None),
        ("bf16", 39.9, 9, "39.9 dB"),
        ("bf16", None, 0, None),
        ("int8", 35.0, 60, None),
        ("int8", 28.0, 60, "35 required"),
    ],
)
def test_each_precision_has_its_gate(precision, psnr, levels, wrong):
    found = fault(row("ours", precision=precision), Difference(psnr, levels))
    assert found is None if wrong is None else wrong in found
