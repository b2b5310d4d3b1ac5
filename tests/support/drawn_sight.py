"""Scenes with dark squares for faces, and what finds them: translation of faces without a network or a detector."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from starcast.runtime.faces.opening import FaceFiles
from starcast.runtime.faces.points import FacePoints
from starcast.runtime.faces.sight import Sight

HEIGHT, WIDTH = 96, 160
GREY, FACE = 110, 60  # levels of the scene, and of the faces in it
SIDE = 32
Image = NDArray[np.uint8]


def scene(*lefts: int | None) -> Image:
    """Grey [HEIGHT, WIDTH, 3] with a face from each column on; none for None."""
    frame = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    for left in lefts:
        if left is not None:
            frame[30 : 30 + SIDE, left : left + SIDE] = FACE
    return frame


class DrawnSight(Sight):
    """Finds the faces of scenes. A face's aligned square is as large as the face."""

    detector: None = None
    look: None = None

    def find(self, image: Image, *, every: bool = True) -> list[FacePoints]:
        dark = (image[..., 0] < (GREY + FACE) / 2).astype(np.uint8)
        _, _, areas, centres = cv2.connectedComponentsWithStats(dark)
        return [
            FacePoints.of_four([[x - 4, y - 0.9], [x + 4, y - 0.9]], [[x - 3, y + 6], [x + 3, y + 6]])
            for (*_, area), (x, y) in zip(areas[1:], centres[1:], strict=True)
            if area > 100
        ]


class DrawnFiles(FaceFiles, frozen=True):
    """What finds the faces of scenes, where a command opens `--landmarks` and `--mean`."""

    def sight(self, size: int, *_: Any, **__: Any) -> DrawnSight:
        return DrawnSight()


@contextmanager
def open_drawn_files(*_: Any) -> Iterator[DrawnFiles]:
    yield DrawnFiles(None, None, True, {"detector": "drawn"})
