"""The points of a face that alignment is computed from: eyes, mouth corners, and what its size is measured at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

LANDMARKS = 98  # in the order of WFLW
# the rows of WFLW's 98 landmarks: the eyes' outlines and pupils, the mouth's corners
_LEFT_EYE, _RIGHT_EYE = [*range(60, 68), 96], [*range(68, 76), 97]
_PUPILS, _MOUTH_CORNERS = [96, 97], [76, 82]

Array = NDArray[np.float64]
# an image uint8 [H, W, 3] in RGB -> the points of its face, in its pixels; None if there is none
FindFace = Callable[[NDArray[np.uint8]], "FacePoints | None"]


class FacePoints(msgspec.Struct, frozen=True):
    """A face's points (x, y) in pixels. Left and right are those of the image: the left eye has the smaller x in an
    upright face.

    eyes      [2, 2] centres of the left and the right eye
    mouth     [2, 2] left and right corner of the mouth
    centre    [2]    what stands for the face's place
    anchors   [4, 2] points whose distances from the centre stand for the face's size

    `centre` and `anchors` are known in two ways. With 98 landmarks, the centre is their mean, and the anchors are
    pupils and mouth corners, as in the official alignment. With four points alone (`is_sparse`), the anchors are these
    four, and the centre is their mean. Two faces can only be compared in the same way: see `sparse`.
    """

    eyes: Array
    mouth: Array
    centre: Array
    anchors: Array
    is_sparse: bool = False

    @classmethod
    def of_landmarks(cls, landmarks: ArrayLike) -> Self:
        """From 98 landmarks [98, 2] in the order of WFLW, as FAN finds them. Raises ValueError for another shape."""
        points = np.asarray(landmarks, np.float64)
        if points.shape != (LANDMARKS, 2):
            raise ValueError(f"FacePoints.of_landmarks takes [{LANDMARKS}, 2], not {list(points.shape)}")
        eyes = np.stack([points[_LEFT_EYE].mean(axis=0), points[_RIGHT_EYE].mean(axis=0)])
        return cls(eyes, points[_MOUTH_CORNERS], points.mean(axis=0), points[_PUPILS + _MOUTH_CORNERS])

    @classmethod
    def of_four(cls, eyes: ArrayLike, mouth: ArrayLike) -> Self:
        """From the eyes' centres [2, 2] and the mouth's corners [2, 2], left first, as a face detector finds them.

        A detector's fifth point, the tip of the nose, is left out: it moves to the side when the head turns.
        """
        ends = np.asarray(eyes, np.float64), np.asarray(mouth, np.float64)
        if any(pair.shape != (2, 2) for pair in ends):
            raise ValueError(f"FacePoints.of_four takes [2, 2] twice, not {[list(pair.shape) for pair in ends]}")
        anchors = np.concatenate(ends)
        return cls(*ends, anchors.mean(axis=0), anchors, is_sparse=True)

    @property
    def sparse(self) -> FacePoints:
        """The same face with the eyes' centres and the mouth's corners alone."""
        return self if self.is_sparse else FacePoints.of_four(self.eyes, self.mouth)

    def moved(self, matrix: ArrayLike) -> FacePoints:
        """The points behind an affine 3x3 matrix, which maps (x, y, 1)."""
        turn = np.asarray(matrix, np.float64)

        def move(points: Array) -> Array:
            places: Array = points @ turn[:2, :2].T + turn[:2, 2]
            return places

        return FacePoints(
            move(self.eyes), move(self.mouth), move(self.centre), move(self.anchors), is_sparse=self.is_sparse
        )

    def scaled(self, factor: float) -> FacePoints:
        """The points in an image that is `factor` times as large."""
        return self.moved(np.diag([factor, factor, 1.0]))

    @property
    def across(self) -> Array:
        """The vector from the left eye to the right one, [2]."""
        across: Array = self.eyes[1] - self.eyes[0]
        return across

    @property
    def up(self) -> Array:
        """The vector from the mouth's centre to the centre between the eyes, [2]."""
        up: Array = self.eyes.mean(axis=0) - self.mouth.mean(axis=0)
        return up

    def is_face(self, least: float = 2.0) -> bool:
        """Whether these can be a face's points: finite, and not collapsed to a point or a line across.

        `least`: pixels by which eyes and mouth are apart at least. A landmark network that sees no face gives points
        that coincide.
        """
        values = np.concatenate([self.eyes, self.mouth, self.anchors, self.centre[None]])
        if not np.isfinite(values).all():
            return False
        axis = upright_axis(self)
        return bool(np.hypot(*self.across) + np.hypot(*self.up) >= least and np.hypot(*axis) >= least / 2)


def upright_axis(face: FacePoints) -> Array:
    """The direction in the image that is the face's horizontal, [2], not normalised.

    Both the line between the eyes and the line from mouth to eyes, turned by a right angle, say where it is; their sum
    lets the longer one say more (Karras et al. 2018, appendix C).
    """
    up_x, up_y = face.up
    axis: Array = face.across + np.array([-up_y, up_x])
    return axis
