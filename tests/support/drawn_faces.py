"""Faces of four coloured discs on grey, and finders that know their places: alignment without a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from starcast.runtime.faces.finders import Finder
from starcast.runtime.faces.points import FacePoints

# of the left and right eye, and of the corners of the mouth
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))
UPRIGHT = (
    (0.35, 0.4),
    (0.65, 0.4),
    (0.38, 0.7),
    (0.62, 0.7),
)  # their places in an upright square, as parts of its side
Image = NDArray[np.uint8]


def draw_face(
    height: int, width: int, centre: tuple[float, float], side: float, degrees: float = 0.0
) -> tuple[Image, FacePoints]:
    """An image with a face in a turned square, and the face's points."""
    turn = np.exp(1j * np.deg2rad(degrees)) * side
    places = [complex(*centre) + turn * (complex(*place) - 0.5 - 0.5j) for place in UPRIGHT]
    points = np.array([[place.real, place.imag] for place in places])
    image = np.full((height, width, 3), 128, np.uint8)
    for (x, y), colour in zip(points, COLOURS, strict=True):
        disc = round(256 * x), round(256 * y)
        cv2.circle(image, disc, round(256 * side / 24), colour, cv2.FILLED, cv2.LINE_AA, shift=8)
    return image, FacePoints.of_four(points[:2], points[2:])


def find_drawn_face(image: Image) -> FacePoints | None:
    """The points of a drawn face: the centres of its colours. None where one is missing."""
    places = []
    for colour in COLOURS:
        distance = np.abs(image.astype(int) - colour).sum(axis=2)
        y, x = np.nonzero(distance < 160)
        if len(x) == 0:
            return None
        places.append((x.mean(), y.mean()))
    return FacePoints.of_four(places[:2], places[2:])


def drawn_heatmaps(image: Image) -> NDArray[np.float32]:
    """Heatmaps [98, 64, 64] of a drawn face: the landmarks of an eye at its centre, most others in the mouth's middle.
    Zero where there is no face."""
    height, width = image.shape[:2]
    maps = np.zeros((98, 64, 64), np.float32)
    face = find_drawn_face(image)
    if face is None:
        return maps
    landmarks = np.repeat(face.mouth.mean(axis=0)[None], 98, axis=0)
    landmarks[[*range(60, 68), 96]], landmarks[[*range(68, 76), 97]] = face.eyes[0], face.eyes[1]
    landmarks[[76, 82]] = face.mouth
    cells = landmarks * [64 / width, 64 / height] - 0.5
    rows, columns = np.mgrid[0:64, 0:64]
    for map_, (x, y) in zip(maps, cells, strict=True):
        map_[:] = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
    return maps


def use_drawn_faces(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path | None, int]]:
    """Let `align` find drawn faces. Returns what it was asked to open: `--landmarks` and the size."""
    asked: list[tuple[Path | None, int]] = []

    @contextmanager
    def open_finder(landmarks: Path | None, size: int) -> Iterator[Finder]:
        asked.append((landmarks, size))
        yield Finder(find_drawn_face, {"landmarks": str(landmarks)})

    monkeypatch.setattr("starcast.runtime.faces.align.open_finder", open_finder)
    return asked


def colour_at(image: Image, places: Sequence[Sequence[float]]) -> list[list[int]]:
    """The pixels at places (x, y)."""
    return [image[round(y), round(x), :3].tolist() for x, y in places]
