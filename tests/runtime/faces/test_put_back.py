"""A translated face lies in its frame where it was found, with an edge that cannot be seen."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starcast.runtime.faces.put_back import FEATHER, put_back
from starcast.runtime.faces.steady import Pose, matrix_of
from starcast.runtime.faces.warp import align

SIZE = 64


def smooth_frame(height, width, channels=3):
    """Waves so long that resampling keeps them."""
    y, x = np.mgrid[:height, :width]
    phases = np.arange(channels) * 2.0
    return np.uint8(np.round(128 + 60 * np.sin(x[..., None] / 17 + phases) + 50 * np.cos(y[..., None] / 23 + phases)))


def inside(matrix, shape, margin=0.0):
    """Which pixels of a frame lie in the square, `margin` pixels of the square from its edge."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    x, y, _ = np.tensordot(matrix, np.stack([columns, rows, np.ones(shape)]), 1)
    return (np.minimum(x, y) >= margin - 0.5) & (np.maximum(x, y) <= SIZE - 0.5 - margin)


poses = st.builds(
    Pose,
    st.floats(math.log(40), math.log(130)),
    st.floats(-math.pi, math.pi),
    st.floats(-20, 180),
    st.floats(-20, 140),
)


@settings(max_examples=40, deadline=None)
@given(poses)
def test_the_identity_changes_a_smooth_frame_by_two_levels_and_nothing_outside_the_square(pose):
    frame, matrix = smooth_frame(120, 160), matrix_of(pose, SIZE)
    # what lies in the square is smooth, too, where the frame's mirrored edge does not show
    result = put_back(frame, [(align(frame, matrix, SIZE), matrix)])
    change = np.abs(result.astype(int) - frame).max(axis=2)
    rows, columns = np.mgrid[:120, :160]
    far_from_edge = np.minimum.reduce([rows, columns, 119 - rows, 159 - columns]) >= 8
    assert change[far_from_edge].max() <= 2
    assert not change[~inside(matrix, (120, 160))].any()


@settings(max_examples=40, deadline=None)
@given(poses)
def test_a_translation_is_seen_alone_inside_and_not_at_all_outside(pose):
    frame, matrix = np.zeros((120, 160, 3), np.uint8), matrix_of(pose, SIZE)
    result = put_back(frame, [(np.full((SIZE, SIZE, 3), 200, np.uint8), matrix)])
    assert (result[inside(matrix, (120, 160), margin=FEATHER * SIZE)] == 200).all()
    assert not result[~inside(matrix, (120, 160))].any()


def test_the_edge_is_soft():
    matrix = matrix_of(Pose(math.log(SIZE), 0.0, 79.5, 59.5), SIZE)
    row = put_back(np.zeros((120, 160, 3), np.uint8), [(np.full((SIZE, SIZE, 3), 200, np.uint8), matrix)])[60, :, 0]
    steps = np.diff(row.astype(int))
    # a smooth step over 0.15 x 64 pixels rises by 1.5 / 9.6 of the whole at most
    assert steps.max() <= math.ceil(200 * 1.5 / (FEATHER * SIZE))
    assert row.max() == 200


@pytest.mark.parametrize("side", [20, 64, 300])
def test_the_translation_is_not_moved(side):
    """A spot at a known place of the square shows at the place of the frame that the matrix says."""
    square = np.zeros((SIZE, SIZE, 3), np.float32)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    square += (200 * np.exp(-((columns - 40) ** 2 + (rows - 26) ** 2) / (2 * 5.0**2)))[..., None]
    matrix = matrix_of(Pose(math.log(side), 0.4, 150.3, 149.8), SIZE)
    result = put_back(np.zeros((300, 300, 3), np.uint8), [(np.uint8(square), matrix)])[..., 0].astype(float)
    ys, xs = np.mgrid[:300, :300]
    spot = np.array([(result * xs).sum(), (result * ys).sum()]) / result.sum()
    expected = np.linalg.solve(matrix, [40, 26, 1])[:2]
    np.testing.assert_allclose(spot, expected, atol=0.02 * side / SIZE + 0.1)


def test_alpha_is_kept():
    frame = np.dstack([smooth_frame(80, 80), np.arange(80 * 80, dtype=np.uint8).reshape(80, 80)])
    matrix = matrix_of(Pose(math.log(50), 0.1, 40, 40), SIZE)
    result = put_back(frame, [(np.full((SIZE, SIZE, 3), 9, np.uint8), matrix)])
    assert np.array_equal(result[..., 3], frame[..., 3])
    assert not np.array_equal(result[..., :3], frame[..., :3])


def test_the_frame_itself_is_left_as_it_is_and_a_square_beyond_it_changes_nothing():
    frame = smooth_frame(80, 80)
    before = frame.copy()
    matrix = matrix_of(Pose(math.log(50), 0.1, 500, 40), SIZE)
    assert np.array_equal(put_back(frame, [(np.full((SIZE, SIZE, 3), 9, np.uint8), matrix)]), frame)
    put_back(frame, [(np.full((SIZE, SIZE, 3), 9, np.uint8), matrix_of(Pose(4.0, 0, 40, 40), SIZE))])
    assert np.array_equal(frame, before)


def test_a_large_frame_costs_only_the_part_that_the_face_covers(monkeypatch):
    import cv2

    sizes = []
    warp = cv2.warpAffine
    monkeypatch.setattr(cv2, "warpAffine", lambda *a, **k: sizes.append(a[2]) or warp(*a, **k))
    frame = np.zeros((2160, 3840, 3), np.uint8)
    put_back(frame, [(np.zeros((SIZE, SIZE, 3), np.uint8), matrix_of(Pose(math.log(200), 0.0, 3000, 1000), SIZE))])
    assert max(sizes[0]) <= 203


def test_a_face_that_fills_a_large_image_takes_little_more_memory_than_the_image(monkeypatch):
    frame, square = smooth_frame(1500, 1500), smooth_frame(SIZE, SIZE)
    matrix = matrix_of(Pose(math.log(1600), 0.3, 740.0, 760.0), SIZE)
    tracemalloc.start()
    result = put_back(frame, [(square, matrix)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < frame.nbytes + 2**24
    monkeypatch.setattr("starcast.runtime.faces.put_back._AT_ONCE", frame.size)
    at_once = put_back(frame, [(square, matrix)])
    assert np.abs(result.astype(int) - at_once).max() <= 1  # places are rounded to a 32nd of a pixel, band by band
