"""The similarity transform that turns a face upright, and gives it its size and place in an aligned square.

A matrix is float64 3x3 and maps (x, y, 1) of the image to (x, y, 1) of the square. Pixels are counted at their centres:
(0, 0) is the first one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from starcast.runtime.faces.points import FacePoints, upright_axis

MEAN_SIDE = 256  # pixels of the square in which mean landmarks are given

Matrix = NDArray[np.float64]


def similarity(face: FacePoints, mean: FacePoints | None, size: int) -> Matrix:
    """The matrix from the image that `face` was found in to its aligned square of `size` pixels a side.

    With `mean`, the points of the mean face in a square of 256 pixels, as the official alignment does: see `onto_mean`.
    Without, by the rule that CelebA-HQ was cropped by: see `crop_square`. The face must satisfy `is_face`.
    """
    return crop_square(face, size) if mean is None else onto_mean(face, mean.scaled(size / MEAN_SIDE))


def onto_mean(face: FacePoints, mean: FacePoints) -> Matrix:
    """The official alignment: turn the face's axis to that of the mean, scale by the mean ratio of the anchors'
    distances from the centre, and move centre to centre.

    If one of them is sparse, both are compared by eyes and mouth corners alone.
    """
    if face.is_sparse or mean.is_sparse:
        face, mean = face.sparse, mean.sparse
    turn = _complex(upright_axis(mean)) / _complex(upright_axis(face))
    sizes = [np.linalg.norm(points.anchors - points.centre, axis=1) for points in (mean, face)]
    scale = float((sizes[0] / sizes[1]).mean())
    return _matrix(scale * turn / abs(turn), face.centre, mean.centre)


def crop_square(face: FacePoints, size: int) -> Matrix:
    """The square that CelebA-HQ's images were cropped to, which needs no mean landmarks.

    Its horizontal is the face's axis, its side the larger of 4 times the distance between the eyes and 3.6 times the
    distance from eyes to mouth, and its centre lies a tenth of that last distance below the eyes (Karras et al. 2018,
    appendix C).
    """
    side = max(4.0 * float(np.hypot(*face.across)), 3.6 * float(np.hypot(*face.up)))
    axis = _complex(upright_axis(face))
    centre = face.eyes.mean(axis=0) - 0.1 * face.up
    middle = (size - 1) / 2  # of the square's pixels, which are counted at their centres
    return _matrix(size / side * abs(axis) / axis, centre, np.array([middle, middle]))


def scale_of(matrix: Matrix) -> float:
    """How many pixels of the square a pixel of the image becomes, along one side."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))


def shift(x: float, y: float) -> Matrix:
    """The matrix that moves everything by (x, y)."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def _complex(vector: NDArray[np.float64]) -> complex:
    return complex(vector[0], vector[1])


def _matrix(turn: complex, start: NDArray[np.float64], end: NDArray[np.float64]) -> Matrix:
    """Turn and scale by a complex number, and move the point `start` to `end`."""
    rotation = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    matrix = np.eye(3)
    matrix[:2, :2] = rotation
    matrix[:2, 2] = end - rotation @ start
    return matrix
