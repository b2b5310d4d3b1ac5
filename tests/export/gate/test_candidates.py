from __future__ import annotations

import numpy as np
import pytest

from starcast.export.gate.candidates import as_bytes, as_floats, difference


def test_bytes_become_minus_one_to_one_and_come_back() -> None:
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    floats = as_floats(image).numpy()
    assert (floats.min(), floats.max(), floats.shape) == (-1, 1, (1, 3, 16, 16))
    np.testing.assert_array_equal(as_bytes(floats), image)


def test_bytes_are_rounded_half_to_even_and_clipped() -> None:
    values = np.array([0.5, 1.5, 2.5, -40, 300, 254.4]).reshape(1, 1, 1, 6) / 127.5 - 1
    assert as_bytes(values).ravel().tolist() == [0, 2, 2, 0, 255, 254]


@pytest.mark.parametrize(
    ("got", "expected", "apart"),
    [(0.5, 0.25, 0.25), (-3.0, -4.0, 0.25), (8.0, 4.0, 1.0), (1.0, 1.0, 0.0), (np.nan, 0.0, np.inf)],
)
def test_differences_are_relative_above_one(got: float, expected: float, apart: float) -> None:
    assert difference(np.array([0.0, got]), np.array([0.0, expected])) == apart
