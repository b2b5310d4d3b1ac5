"""Landmarks stand where the maps say, to a quarter of a cell."""

from __future__ import annotations

import numpy as np
import pytest
from face_oracles import load_face_oracle

from starcast.images.landmarks import read_landmarks


def heatmap(*peaks: tuple[int, int, float], side: int = 64) -> np.ndarray:
    """[1, 1, side, side] with these (row, column, value)."""
    maps = np.zeros((1, 1, side, side), np.float32)
    for row, column, value in peaks:
        maps[0, 0, row, column] = value
    return maps


@pytest.mark.parametrize(
    ("peaks", "place"),
    [
        ([(10, 20, 1.0)], (20.5, 10.5)),
        ([(10, 20, 1.0), (10, 21, 0.5)], (20.75, 10.5)),
        ([(10, 20, 1.0), (9, 20, 0.5)], (20.5, 10.25)),
        ([(0, 20, 1.0), (0, 21, 0.5)], (20.5, 0.5)),  # on the edge nothing moves
        ([(63, 63, 1.0), (62, 63, 0.5)], (63.5, 63.5)),
        ([(5, 5, 1.0), (40, 40, 1.0)], (5.5, 5.5)),  # of equal ones the first
    ],
)
def test_a_landmark_is_at_its_peak_moved_a_quarter_towards_the_larger_neighbour(peaks, place):
    assert read_landmarks(heatmap(*peaks), 64, 64)[0, 0].tolist() == list(place)


def test_landmarks_are_in_pixels_of_the_image_whatever_its_sides():
    assert read_landmarks(heatmap((10, 20, 1.0)), 128, 640)[0, 0].tolist() == [205, 21]


def test_landmarks_of_the_oracles_heatmaps_are_the_officials():
    oracle = load_face_oracle("masks.npz")
    assert np.array_equal(read_landmarks(oracle["heatmaps"].astype(np.float32), 256, 256), oracle["landmarks"])
