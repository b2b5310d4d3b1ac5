"""Put a translated face back into its frame: the inverse of alignment, with a soft edge."""

from __future__ import annotations

import math
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from starcast.runtime.faces.similarity import Matrix, scale_of, shift
from starcast.runtime.stages import slices

FEATHER = 0.15  # of the square's side: the width of its soft edge

_AT_ONCE = 2**18  # pixels of the frame that are mixed at once, because a face may fill a very large image

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


def put_back(frame: Image, faces: Iterable[tuple[Image, Matrix]]) -> Image:
    """A copy of `frame`, uint8 [H, W, 3] or [H, W, 4], with `faces` in it; its alpha channel stays as it is.

    Each face is a translated aligned square, uint8 [size, size, 3], and the matrix from the frame to that square. At
    the square's edge only the frame shows. The weight of the translation grows inwards, to 1 at FEATHER sides from the
    edge. Values are mixed as they are stored (gamma-encoded), as for transparent sources. Apart from the copy, only the
    part of the frame that a square covers is processed, some rows at a time.
    """
    whole = frame.copy()
    for square, matrix in faces:
        _paste(whole, square, matrix)
    return whole


def _paste(frame: Image, square: Image, matrix: Matrix) -> None:
    """Mix a translated square into `frame`, in place."""
    size = square.shape[0]
    left, top, right, bottom = _covered(frame, matrix, size)
    if left >= right or top >= bottom:
        return
    face = _blurred(square, scale_of(matrix))
    for rows in slices(bottom - top, max(1, _AT_ONCE // (right - left))):
        start = top + rows.start
        part = frame[start : min(top + rows.stop, bottom), left:right, :3]
        _mix(part, face, matrix @ shift(left, start))


def _mix(part: Image, face: Floats, matrix: Matrix) -> None:
    """Mix a face into a part of the frame, in place; `matrix` maps that part to the face's square."""
    rows, columns = part.shape[:2]
    weight = _weights(matrix, face.shape[0], (rows, columns))
    warped = cv2.warpAffine(
        face, matrix[:2], (columns, rows), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    mixed = part + weight[..., None] * (warped - part)
    part[:] = np.clip(np.floor(mixed + 0.5), 0, 255).astype(np.uint8)


def _covered(frame: Image, matrix: Matrix, size: int) -> tuple[int, int, int, int]:
    """The pixels of the frame that lie in the square, as (left, top, right, bottom)."""
    ends = -0.5, size - 0.5
    corners = np.array([[x, y, 1] for x in ends for y in ends]).T
    x, y = np.linalg.solve(matrix, corners)[:2]
    height, width = frame.shape[:2]
    return (
        max(0, math.floor(x.min())), max(0, math.floor(y.min())),
        min(width, math.ceil(x.max()) + 1), min(height, math.ceil(y.max()) + 1),
    )  # fmt: skip


def _weights(matrix: Matrix, size: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    """How much the translation counts at each pixel of a part of the frame: 0 at the square's edge and beyond."""
    rows, columns = (np.arange(length, dtype=np.float32) for length in shape)
    weight = np.ones(shape, np.float32)
    for across, down, offset in matrix[:2].astype(np.float32):
        place = across * columns[None] + (down * rows + offset)[:, None]
        inside = np.clip(np.minimum(place + 0.5, size - 0.5 - place) / (FEATHER * size), 0, 1)
        weight *= inside * inside * (3 - 2 * inside)  # smoothstep: no crease at either end
    return weight


def _blurred(square: Image, scale: float) -> Floats:
    """The square, float32 [size, size, 3], ready to be shown `scale` times smaller: blurred, if it is shrunk."""
    face: Floats = square.astype(np.float32)
    if scale > 1:
        sigma = 0.5 * math.sqrt(scale * scale - 1)
        face = cv2.GaussianBlur(face, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    return face
