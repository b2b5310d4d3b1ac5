"""Placing transparent images on white."""

from __future__ import annotations

import numpy as np
import pytest

from starcast.images.white import on_white


def test_transparent_pixels_are_placed_on_white():
    pixels = np.array([[[[10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 255, 128]]]], np.uint8)
    np.testing.assert_array_equal(on_white(pixels), [[[[10, 20, 30], [255, 255, 255], [127, 177, 255]]]])
    np.testing.assert_array_equal(on_white(np.full((1, 1, 1, 1), 9, np.uint8)), np.full((1, 1, 1, 3), 9))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_of_any_channels_become_rgb_on_white(channels):
    levels = np.full((1, 2, 2, channels), 100, np.uint8)
    expected = 100 if channels < 4 else round(100 * 100 / 255 + 155)
    assert (on_white(levels) == expected).all()
    assert on_white(levels).shape == (1, 2, 2, 3)
