"""The arithmetic of the alignment: against the official program's numbers, and against geometry worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from face_oracles import load_face_oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from starcast.runtime.faces import warp
from starcast.runtime.faces.points import FacePoints
from starcast.runtime.faces.similarity import crop_square, onto_mean, scale_of, shift, similarity
from starcast.runtime.faces.warp import align, padded_part

EYES, MOUTH = [[96.0, 120.0], [160.0, 120.0]], [[100.0, 184.0], [156.0, 184.0]]


def turned(degrees: float, scale: float, x: float, y: float) -> NDArray[np.float64]:
    turn = scale * np.exp(1j * np.deg2rad(degrees))
    return np.array([[turn.real, -turn.imag, x], [turn.imag, turn.real, y], [0, 0, 1]])


def drawn_landmarks(seed: int) -> NDArray[np.float64]:
    """98 points with the eyes above the mouth, and noise."""
    points = np.random.default_rng(seed).uniform(60, 200, (98, 2))
    for rows, place in (
        ([*range(60, 68), 96], EYES[0]), ([*range(68, 76), 97], EYES[1]), ([76], MOUTH[0]), ([82], MOUTH[1])
    ):  # fmt: skip
        points[rows] = np.asarray(place) + points[rows] / 100
    return points


def test_matrices_equal_the_official_ones() -> None:
    oracle = load_face_oracle("align.npz")
    mean = FacePoints.of_landmarks(oracle["mean_landmarks"])
    for landmarks, expected in zip(oracle["landmarks"], oracle["matrices"], strict=True):
        matrix = similarity(FacePoints.of_landmarks(landmarks), mean, 256)
        np.testing.assert_allclose(matrix @ shift(-128, -128), expected, rtol=1e-5, atol=1e-4)


def test_aligned_images_equal_the_official_ones() -> None:
    oracle = load_face_oracle("align.npz")
    mean = FacePoints.of_landmarks(oracle["mean_landmarks"])
    for image, landmarks, expected in zip(
        oracle["image_u8"], oracle["landmarks"], oracle["aligned_u8"], strict=True
    ):  # fmt: skip
        matrix = similarity(FacePoints.of_landmarks(landmarks), mean, 256)
        difference = np.abs(align(image, matrix, 256).astype(int) - expected)
        assert (difference > 1).mean() < 0.01
        # OpenCV's Lanczos reads at places rounded to 1/32 pixel: beyond two levels are only places in between two
        y, x = np.nonzero((difference > 2).any(axis=2))
        places = 32 * np.linalg.solve(matrix, np.stack([x, y, np.ones_like(x)]).astype(float))[:2]
        assert len(x) <= 3
        assert np.all(np.abs(places % 1 - 0.5).min(axis=0) < 2e-3)


@given(st.floats(-180, 180), st.floats(0.2, 5), st.floats(-500, 500), st.floats(-500, 500), st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_a_face_turned_scaled_and_moved_comes_back_to_the_same_places(
    degrees: float, scale: float, x: float, y: float, seed: int
) -> None:
    mean = FacePoints.of_landmarks(drawn_landmarks(99))
    face = FacePoints.of_landmarks(drawn_landmarks(seed))
    moved = face.moved(turned(degrees, scale, x, y))
    for face_, moved_, mean_ in ((face, moved, mean), (face, moved, None), (face.sparse, moved.sparse, mean)):
        still = face_.moved(similarity(face_, mean_, 256))
        back = moved_.moved(similarity(moved_, mean_, 256))
        np.testing.assert_allclose(back.eyes, still.eyes, atol=1e-6)
        np.testing.assert_allclose(back.mouth, still.mouth, atol=1e-6)


def test_the_mean_face_stays_where_it_is() -> None:
    mean = FacePoints.of_landmarks(drawn_landmarks(1))
    np.testing.assert_allclose(onto_mean(mean, mean), np.eye(3), atol=1e-12)


@pytest.mark.parametrize("size", [64, 128, 256, 512, 1000])
def test_every_size_has_the_face_at_the_same_part_of_the_square(size: int) -> None:
    mean = FacePoints.of_landmarks(drawn_landmarks(1))
    face = mean.moved(turned(25, 1.7, 40, -60))
    np.testing.assert_allclose(face.moved(similarity(face, mean, size)).eyes, mean.eyes * size / 256, atol=1e-9)


def test_without_a_mean_the_square_is_that_of_celeba_hq() -> None:
    # eyes 64 apart, mouth 64 below: side 4 * 64, centre 6.4 below the eyes
    face = FacePoints.of_four(EYES, MOUTH)
    # the square begins half a pixel before its first pixel's centre, and ends half a pixel after its last one's
    np.testing.assert_allclose(crop_square(face, 256), shift(127.5 - 128, 127.5 - 126.4), atol=1e-12)
    longer = FacePoints.of_four(EYES, np.add(MOUTH, [0, 16]))  # 80 below: side 3.6 * 80, centre 8 below the eyes
    assert scale_of(crop_square(longer, 256)) == pytest.approx(256 / 288)
    np.testing.assert_allclose(crop_square(longer, 256) @ [128, 128, 1], [127.5, 127.5, 1])


@pytest.mark.parametrize("size", [64, 256, 1000])
@pytest.mark.parametrize("degrees", [0, 90, 180])
def test_the_square_of_a_mirrored_face_is_the_mirrored_square(size: int, degrees: float) -> None:
    """A square of any size and its mirror image have the same edges: the rule does not move faces to one side."""
    face = FacePoints.of_four(EYES, MOUTH).moved(turned(degrees, 1.3, 300, 200))
    mirror = np.array([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    mirrored = FacePoints.of_four(face.moved(mirror).eyes[::-1], face.moved(mirror).mouth[::-1])
    flip = shift(size - 1, 0) @ mirror
    np.testing.assert_allclose(crop_square(mirrored, size), flip @ crop_square(face, size) @ mirror, atol=1e-9)


def test_a_sparse_mean_and_98_landmarks_are_compared_by_eyes_and_mouth() -> None:
    face = FacePoints.of_landmarks(drawn_landmarks(3))
    mean = FacePoints.of_four(EYES, MOUTH)
    np.testing.assert_allclose(onto_mean(face, mean), onto_mean(face.sparse, mean), atol=1e-12)


@pytest.mark.parametrize("points", [np.full((98, 2), 2.0), np.full((98, 2), np.nan)])
def test_collapsed_and_missing_points_are_no_face(points: NDArray[np.float64]) -> None:
    assert not FacePoints.of_landmarks(points).is_face()
    assert FacePoints.of_landmarks(drawn_landmarks(0)).is_face()


def test_other_numbers_of_landmarks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[98, 2\], not \[68, 2\]"):
        FacePoints.of_landmarks(np.zeros((68, 2)))


def test_a_matrix_that_changes_nothing_changes_no_pixel() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    np.testing.assert_array_equal(align(image, np.eye(3), 64), image)
    np.testing.assert_array_equal(align(image[..., 0], np.eye(3), 64), image[..., 0])
    np.testing.assert_array_equal(align(image, shift(-20, -10), 32), image[10:42, 20:52])


def test_beyond_the_image_it_is_mirrored_and_then_blurred() -> None:
    image = np.random.default_rng(1).integers(0, 256, (80, 60, 3), np.uint8)
    part = padded_part(image, (-30, -40, 90, 120))
    np.testing.assert_array_equal(part[40:120, 30:90], image)
    # one pixel out: the pixel inside the outermost one, all but 4 of 40 parts of it
    assert np.abs(part[39, 30:90] - image[1]).max() <= 255 * (1 - (39 / 40) ** 4) + 1e-3
    assert part[0].std() < image.std() / 2
    np.testing.assert_allclose(padded_part(image, (-45, -60, 100, 140))[20, 15:-10], part[0])


@given(st.integers(1, 40), st.integers(1, 40), st.integers(-60, 60), st.integers(-60, 60))
@settings(deadline=None, max_examples=40)
def test_a_part_of_the_padded_image_equals_the_same_part_of_the_whole(
    height: int, width: int, left: int, top: int
) -> None:
    image = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    whole = padded_part(image, (-80, -80, 120, 120))
    part = padded_part(image, (left, top, left + 30, top + 20))
    np.testing.assert_allclose(part, whole[top + 80 : top + 100, left + 80 : left + 110], atol=1e-2)


@pytest.mark.parametrize("factor", [1.3, 2, 3.7, 10])
def test_an_image_that_is_shrunk_shows_no_moire(factor: float) -> None:
    side = round(128 * factor)
    checks = np.indices((side, side)).sum(axis=0) % 2 * 255
    image = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    square = align(image, turned(0, 1 / factor, 0, 0), 128)
    assert square[8:-8, 8:-8].astype(float).std() < 26  # checks of a pixel each have 127.5


@pytest.mark.parametrize("size", [64, 256, 1024])
def test_a_turned_gradient_stays_a_gradient_at_every_size(size: int) -> None:
    y, x = np.mgrid[0:300, 0:400]
    image = np.stack([x / 2, y / 2, x / 4 + y / 4], axis=2).round().astype(np.uint8)
    matrix = turned(25, size / 150, 0, 0) @ shift(-200, -150)
    matrix = shift(size / 2, size / 2) @ matrix
    square = align(image, matrix, size)
    rows, columns = np.mgrid[0:size, 0:size]
    places = np.linalg.solve(matrix, np.stack([columns, rows, np.ones_like(rows)]).reshape(3, -1).astype(float))
    expected = np.stack([places[0] / 2, places[1] / 2, places[0] / 4 + places[1] / 4], axis=1).reshape(size, size, 3)
    assert np.abs(square - expected).max() < 1.5


def test_a_square_far_larger_than_the_image_or_beyond_it_takes_no_more_than_the_padded_image() -> None:
    image = np.random.default_rng(3).integers(0, 256, (60, 60, 3), np.uint8)
    for matrix in (turned(10, 1e-4, 30, 30), shift(5000, -9000), shift(-5000, 9000)):
        square = align(image, matrix, 64)
        assert square.shape == (64, 64, 3)
        assert square[:3, :3].std() < 60  # blurred, not torn


def test_an_image_with_transparency_is_aligned_in_all_channels() -> None:
    image = np.random.default_rng(3).integers(0, 256, (60, 60, 4), np.uint8)
    matrix = turned(20, 1.1, 3, -4)
    np.testing.assert_array_equal(align(image, matrix, 64)[..., :3], align(image[..., :3], matrix, 64))
    assert np.abs(align(image, matrix, 64)[..., 3].astype(int) - align(image[..., 3], matrix, 64)).max() <= 1


@pytest.mark.parametrize("shape", [(200, 160, 3), (201, 161, 3), (199, 160)])
@pytest.mark.parametrize("box", [(-20, 10, 60, 90), (100, 150, 240, 290), (-30, -40, 260, 280), (230, 20, 240, 90)])
def test_only_the_padding_is_blurred(monkeypatch, shape, box):
    image = np.random.default_rng(5).integers(0, 256, shape).astype(np.uint8)
    blurred, real = list[int](), warp.cv2.GaussianBlur

    def blur(part, *rest, **others):
        blurred.append(part.shape[0] * part.shape[1])
        return real(part, *rest, **others)

    monkeypatch.setattr(warp.cv2, "GaussianBlur", blur)
    left, top, right, bottom = box
    got = padded_part(image, box)
    rows, columns = np.arange(top, bottom), np.arange(left, right)
    inside = np.ix_((rows >= 1) & (rows < shape[0]), (columns >= 1) & (columns < shape[1]))
    expected = image[rows.clip(0, shape[0] - 1)][:, columns.clip(0, shape[1] - 1)]
    np.testing.assert_array_equal(got[inside], expected[inside])
    outside = (bottom - top) * (right - left) - inside[0].size * inside[1].size
    # each strip is blurred at half its size, with the pixels that the blur reads around it
    margin = 2 * (4 * max(shape[0] // 100, 1) + 2) + 2
    assert sum(blurred) <= (outside + 4 * 2 * margin * (sum(shape[:2]) + 2 * margin)) / 4
    # the strips together are what one blur of everything gives
    whole = padded_part(image, (left - 7, top - 5, right + 9, bottom + 3))
    np.testing.assert_allclose(got, whole[5:-3, 7:-9], atol=1e-3)
