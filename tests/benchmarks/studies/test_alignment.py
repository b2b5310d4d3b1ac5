"""The study of alignment: its turns and distances by hand, and a run on drawn faces."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_faces import draw_face, find_drawn_face

from starcast.benchmarks.studies.alignment import POSES, distance, measure, summarise, turn
from starcast.runtime.faces.similarity import shift, similarity


def test_a_turned_image_holds_every_corner_and_its_matrix_leads_to_it() -> None:
    image, face = draw_face(200, 300, (150, 100), 120)
    turned, matrix = turn(image, 25, 1.5)
    corners = matrix @ np.array([[0, 299, 0, 299], [0, 0, 199, 199], [1, 1, 1, 1]])
    assert corners[:2].min() >= -1
    assert np.all(corners[:2].max(axis=1) <= [turned.shape[1], turned.shape[0]])
    found = find_drawn_face(turned)
    assert found is not None
    np.testing.assert_allclose(found.eyes, face.moved(matrix).eyes, atol=0.5)


def test_the_distance_of_two_squares_that_differ_by_a_shift_is_its_length() -> None:
    _, face = draw_face(200, 300, (150, 100), 120)
    square = similarity(face, None, 256)
    assert distance(face, square, square) == 0
    assert distance(face, square, shift(3, 4) @ square) == pytest.approx(5)


def test_drawn_faces_that_are_turned_align_within_a_pixel() -> None:
    image, _ = draw_face(500, 500, (240, 260), 300, 10)
    figures, squares = measure(image, find_drawn_face)
    assert len(figures) == len(POSES) == len(squares) - 1
    assert max(figure for figure in figures if figure is not None) < 1
    assert summarise([{"pixels": figures}])["not_found"] == 0


def test_a_face_that_is_not_found_once_turned_is_counted() -> None:
    image, face = draw_face(300, 300, (150, 150), 200)
    seen = iter([face])
    figures, _ = measure(image, lambda _: next(seen, None))
    assert figures == [None] * len(POSES)
