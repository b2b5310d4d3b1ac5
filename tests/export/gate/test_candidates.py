from __future__ import annotations

import numpy as np
import pytest

from starcast.export.gate.candidates import difference


@pytest.mark.parametrize(
    ("got", "expected", "apart"),
    [(0.5, 0.25, 0.25), (-3.0, -4.0, 0.25), (8.0, 4.0, 1.0), (1.0, 1.0, 0.0), (np.nan, 0.0, np.inf)],
)
def test_differences_are_relative_above_one(got: float, expected: float, apart: float) -> None:
    assert difference(np.array([0.0, got]), np.array([0.0, expected])) == apart
