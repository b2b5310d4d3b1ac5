"""Find the faces to translate: first all of them roughly, then the wanted ones exactly."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from starcast.runtime.faces.detector import FaceDetector
from starcast.runtime.faces.points import FacePoints, FindFace
from starcast.runtime.faces.similarity import Matrix, crop_square, similarity
from starcast.runtime.faces.warp import Image, align

_NETWORK_SIDE = 256  # pixels of the square that a landmark network looks at
_LESS_CERTAIN = 0.08  # scores: nearly all people's faces have 0.9 or more, most animals' 0.7 to 0.85
_AGREE = 0.4  # of the distance between the eyes: landmarks farther off than this from the detector's points are wrong

Face = tuple[Image, Matrix]  # an aligned square, and the matrix from the image to it


class Sight(msgspec.Struct, frozen=True):
    """Finds faces with a detector, a landmark network, or both; one of them must be there.

    `look` finds the landmarks of a face that fills its image. With a detector, it looks at the square of each detected
    face, which may be small or turned in the image. If its landmarks contradict the detector, they are discarded, and
    the detector looks at the face more closely instead. `mean`: the mean face that faces are aligned to; None:
    CelebA-HQ's rule.
    """

    detector: FaceDetector | None
    look: FindFace | None
    mean: FacePoints | None = None

    def find(self, image: Image, *, every: bool = True) -> list[FacePoints]:
        """The faces in an image, roughly, the largest first. Without `every`, faces that are far less certain than
        the most certain one are left out: an animal's face, or a drawing's."""
        if self.detector is not None:
            faces = self.detector.detect(image)
            least = 0.0 if every else max((face.score for face in faces), default=0.0) - _LESS_CERTAIN
            return [face.points for face in faces if face.score >= least]
        points = None if self.look is None else self.look(image)
        return [] if points is None else [points]

    def matrix(self, image: Image, rough: FacePoints, size: int) -> Matrix:
        """The matrix from the image to the aligned square, `size` pixels a side, of a face that `find` found."""
        return similarity(self.look_closer(image, rough), self.mean, size)

    def cut_out(self, image: Image, size: int, *, every: bool) -> tuple[Face, ...]:
        """The aligned squares of the largest face, or of `every` one, with their matrices; none if none is found."""
        rough = self.find(image, every=every)
        matrices = [self.matrix(image, face, size) for face in (rough if every else rough[:1])]
        return tuple((align(image, matrix, size), matrix) for matrix in matrices)

    def look_closer(self, image: Image, rough: FacePoints) -> FacePoints:
        """The exact points of a face that `find` found."""
        if self.detector is None:
            return rough
        if self.look is not None:
            onto = crop_square(rough, _NETWORK_SIDE)
            seen = self.look(align(image, onto, _NETWORK_SIDE))
            points = None if seen is None else seen.moved(np.linalg.inv(onto))
            if points is not None and _agree(points, rough):
                return points
        return self.detector.look_closer(image, rough)


def rough_matrices(faces: Sequence[FacePoints], size: int) -> list[Matrix]:
    """The matrices of faces as they were found roughly: good enough to tell them apart."""
    return [crop_square(face, size) for face in faces]


def _agree(points: FacePoints, rough: FacePoints) -> bool:
    """Whether eyes and mouth corners lie near the rough ones."""
    off = np.concatenate([points.eyes - rough.eyes, points.mouth - rough.mouth])
    return bool(np.hypot(*off.T).max() <= _AGREE * np.hypot(*rough.across))
