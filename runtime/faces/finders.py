"""Where a face's points come from: a landmark network that looks at a square, a face detector, or both.

    open_finder(None, 256)                the detector's eyes and mouth corners
    open_finder("wing.ckpt", 256)         98 landmarks by the official network, run by PyTorch
    open_finder("faces/", 256)            98 landmarks by the landmark graph of a face model's bundle

A landmark network expects that a face fills its image. Where a detector is installed, a face that fills less is cut out
for it first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from starcast.absence import absence_of
from starcast.errors import MissingExtraError, OptionError, printable
from starcast.images.fit import fit
from starcast.images.landmarks import WING, read_landmarks
from starcast.runtime.bundle import open_bundle, sha256_of
from starcast.runtime.faces.detector import CAREFUL, FAST, FaceDetector, weights
from starcast.runtime.faces.points import FacePoints, FindFace
from starcast.runtime.faces.sight import Sight
from starcast.runtime.faces.similarity import crop_square, scale_of
from starcast.runtime.faces.warp import align
from starcast.runtime.landmarks import open_landmarks
from starcast.runtime.manifest import MANIFEST

GROUP, TORCH = "starcast.landmarks", "torch"  # entry point that opens a file of a landmark network
NETWORK_SIDE = 256  # pixels of the image that the network looks at
FLOOR = 0.1  # heatmaps below this everywhere show no face: the masks of such an image are empty, too
SMALL = 0.6  # a face whose square is smaller than this part of the image's shorter side is cut out first
GIVE_LANDMARKS = f"give --landmarks {WING}, or the bundle of a face model"
NO_DETECTOR = f"no face detector is installed: pip install 'starcast[faces]'; or {GIVE_LANDMARKS}"

Image = NDArray[np.uint8]
# an image [H, W, 3] in RGB that a face fills -> a heatmap for each landmark, [98, h, w]
FindHeatmaps = Callable[[Image], NDArray[np.float32]]


class Finder(msgspec.Struct, frozen=True):
    """Finds a face. `facts` say how, for records and marks: two finders with equal facts find the same points."""

    find: FindFace
    facts: dict[str, str]


@contextlib.contextmanager
def open_finder(landmarks: Path | None, size: int) -> Iterator[Finder]:
    """The finder for `--landmarks`, for aligned squares of `size` pixels.

    Raises OptionError if there is neither a file nor a detector, MissingExtraError, CheckpointError, BundleError.
    """
    detect, detector = _detector(is_rough=landmarks is not None)
    if landmarks is None:
        if detect is None:
            raise OptionError(NO_DETECTOR)
        yield Finder(detect, detector)
        return
    with open_heatmaps(landmarks) as (find_heatmaps, facts):
        yield Finder(landmark_finder(find_heatmaps, detect, size), {**facts, **detector})


@contextlib.contextmanager
def open_heatmaps(path: Path) -> Iterator[tuple[FindHeatmaps, dict[str, str]]]:
    """The landmark network of a file or a bundle, and facts about it. Raises what `open_finder` raises."""
    if not path.exists():
        raise OptionError(f"{printable(path)} {absence_of(path)}, or {GIVE_LANDMARKS}")
    if (path / MANIFEST).exists():
        with _open_bundle_heatmaps(path) as opened:
            yield opened
    elif path.is_dir():
        raise OptionError(f"{printable(path)} is a folder, but not a bundle: {GIVE_LANDMARKS}")
    else:
        yield _load_opener()(path), {"landmarks": sha256_of(path)}


def landmark_finder(find_heatmaps: FindHeatmaps, detect: FindFace | None, size: int) -> FindFace:
    """Finds a face by its 98 landmarks.

    A square image that the face fills is looked at whole, as the official program does: resized to `size`, at least
    256. A smaller face that `detect` finds is first cut out and turned upright. So is a face in an image that is not
    square: there the first look is at the distorted image, and the second at the square.
    """

    def find(image: Image) -> FacePoints | None:
        height, width = image.shape[:2]
        rough = None if detect is None else detect(image)
        if rough is not None:
            side = NETWORK_SIDE / scale_of(crop_square(rough, NETWORK_SIDE))
            if side < SMALL * min(height, width) or height != width:
                return look_closer(image, rough)
        points = look(image)
        return points if height == width or points is None else look_closer(image, points)

    def look(image: Image) -> FacePoints | None:
        """The face in the whole image."""
        height, width = image.shape[:2]
        side = max(size, NETWORK_SIDE)
        heatmaps = find_heatmaps(fit(image, (side, side)))
        if heatmaps.max() < FLOOR:
            return None
        points = FacePoints.of_landmarks(read_landmarks(heatmaps[None], height, width)[0])
        cell = min(height, width) / heatmaps.shape[-1]  # landmarks within one cannot be told apart
        return points if points.is_face(cell) else None

    def look_closer(image: Image, rough: FacePoints) -> FacePoints | None:
        """The same face, in the square that it fills."""
        matrix = crop_square(rough, NETWORK_SIDE)
        points = look(align(image, matrix, NETWORK_SIDE))
        return None if points is None else points.moved(np.linalg.inv(matrix))

    return find


def _detector(*, is_rough: bool) -> tuple[FindFace | None, dict[str, str]]:
    """The face detector, for the largest face, and facts about it; None if its extra is not installed. `is_rough`: its
    points only say where to look."""
    path = weights()
    if path is None:
        return None, {}
    sight = Sight(FaceDetector(FAST if is_rough else CAREFUL), None)

    def detect(image: Image) -> FacePoints | None:
        faces = sight.find(image, every=False)
        return sight.look_closer(image, faces[0]) if faces else None

    return detect, {"detector": sha256_of(path)}


@contextlib.contextmanager
def _open_bundle_heatmaps(path: Path) -> Iterator[tuple[FindHeatmaps, dict[str, str]]]:
    bundle = open_bundle(path)
    if bundle.manifest.landmarks is None:
        raise OptionError(f"{printable(path)} has no landmark network: {GIVE_LANDMARKS}")
    with open_landmarks(bundle) as landmarks:
        yield lambda image: landmarks.heatmaps(np.ascontiguousarray(image)[None])[0], {"landmarks": bundle.sha256}


def _load_opener() -> Callable[[Path], FindHeatmaps]:
    """The function that opens a landmark network's file: an entry point outside the runtime, because it needs torch."""
    from importlib.metadata import entry_points  # takes 10 ms

    for entry in entry_points(group=GROUP, name=TORCH):
        opener: Callable[[Path], FindHeatmaps] = entry.load()
        return opener
    raise MissingExtraError("starcast is not installed completely: pip install 'starcast[train,export]' again")
