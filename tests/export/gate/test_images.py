from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starcast.export.gate.images import KINDS, draw_images


@settings(deadline=None, max_examples=30)
@given(st.integers(8, 70), st.integers(8, 70), st.integers(0, 1000))
def test_every_image_has_texture_and_its_size(height: int, width: int, seed: int) -> None:
    drawn = draw_images(len(KINDS), height, width, seed)
    assert drawn.shape == (len(KINDS), height, width, 3)
    assert drawn.dtype == np.uint8
    assert (drawn.std(axis=(1, 2, 3)) > 4).all()


def test_images_are_a_function_of_the_seed() -> None:
    np.testing.assert_array_equal(draw_images(4, 16, 16, seed=3), draw_images(4, 16, 16, seed=3))
    assert (draw_images(4, 16, 16, seed=3) != draw_images(4, 16, 16, seed=4)).any()


@pytest.mark.parametrize("side", [32, 256])
def test_edges_go_from_near_black_to_near_white(side: int) -> None:
    edged = draw_images(3, side, side, seed=0)[2]
    assert set(np.unique(edged)) == {*range(25), *range(231, 256)}
