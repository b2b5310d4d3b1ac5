"""Placing transparent images on white."""

from __future__ import annotations

import numpy as np

from starcast.images.white import on_white


def test_transparent_pixels_are_placed_on_white():
    pixels = np.array([[[[10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 255, 128]]]], np.uint8)
    np.testing.assert_array_equal(on_white(pixels), [[[[10, 20, 30], [255, 255, 255], [127, 177, 255]]]])
    np.testing.assert_array_equal(on_white(np.full((1, 1, 1, 1), 9, np.uint8)), np.full((1, 1, 1, 3), 9))
