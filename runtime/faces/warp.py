"""Cut the aligned square of a face out of an image. Where it reaches beyond the image, the image is mirrored there, and
more blurred the farther out, as in the official alignment."""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from starcast.runtime.faces.similarity import Matrix, scale_of, shift

REACH = 5  # pixels around a place that Lanczos reads, and one for rounding
_TRUNCATE = 4  # standard deviations after which a Gaussian ends

Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels of the image; may lie beyond it
Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


def align(image: Image, matrix: Matrix, size: int) -> Image:
    """The aligned square: uint8 [size, size, C], or [size, size] if `image` is uint8 [H, W].

    `matrix` maps the image to the square (see `similarity`). Only the part of the image that the square shows is
    worked on. An image that is shrunk is averaged first, unless it has the square's size: the official program
    averages when it resizes an image to that size, and not after.
    """
    image, matrix, blur = _average(image, matrix, size)
    left, top, right, bottom = _within_padding(
        box_of(matrix, size, margin=REACH + math.ceil(_TRUNCATE * blur)), image.shape
    )
    part = padded_part(image, (left, top, right, bottom))
    part = _blur(part, blur) if blur > 0 else part
    square = cv2.warpPerspective(
        part, matrix @ shift(left, top), (size, size), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE
    )
    rounded: Image = np.clip(np.floor(square + 0.5), 0, 255).astype(np.uint8)
    return rounded


def _average(image: Image, matrix: Matrix, size: int) -> tuple[Image, Matrix, float]:
    """Lanczos reads 8 x 8 pixels, so an image that it shrinks must be averaged first. Gives the image shrunk by a whole
    factor, its matrix to the square, and the standard deviation of the blur that is still missing."""
    scale = scale_of(matrix)
    height, width = image.shape[:2]
    if scale >= 1 or max(height, width) <= size:
        return image, matrix, 0.0
    factor = math.floor(1 / scale)
    left_over = scale * factor  # above 0.5
    blur = 0.6 * math.sqrt(max(0.0, 1 / left_over**2 - 1))
    if factor == 1:
        return image, matrix, blur
    rows, columns = max(1, round(height / factor)), max(1, round(width / factor))
    small: Image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return small, matrix @ _enlarging(width / columns, height / rows), blur


def box_of(matrix: Matrix, size: int, *, margin: int = 0) -> Box:
    """The smallest box of the image that holds the square and `margin` pixels around it."""
    corners = np.array([[x, y, 1] for x in (0, size - 1) for y in (0, size - 1)], np.float64).T
    x, y = np.linalg.solve(matrix, corners)[:2]
    return (
        math.floor(x.min()) - margin, math.floor(y.min()) - margin,
        math.ceil(x.max()) + margin + 1, math.ceil(y.max()) + margin + 1,
    )  # fmt: skip


def _within_padding(box: Box, shape: tuple[int, ...]) -> Box:
    """A box, clipped to the padded image. Beyond the padding, the warp repeats the outermost pixels itself, so a square
    many times as large as the image takes no more memory than the padded image."""
    left, top, right, bottom = box
    (first, last), (upper, lower) = ((-(length // 2), 2 * length - length // 2) for length in (shape[1], shape[0]))
    left, top = min(max(left, first), last - 1), min(max(top, upper), lower - 1)
    return left, top, max(min(right, last), left + 1), max(min(bottom, lower), top + 1)


def padded_part(image: Image, box: Box) -> Floats:
    """A box of the padded image, float32 [bottom - top, right - left, C] (or without C), 0..255.

    The padding is half the image wide on each side. There the image is mirrored, its outermost pixels not repeated,
    and blended into a blurred copy: at distance d of the padding's width p, the sharp one counts (1 - d / p)**4. Beyond
    the padding the outermost pixels of the padding are repeated.
    """
    height, width = image.shape[:2]
    left, top, right, bottom = box
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        return image[top:bottom, left:right].astype(np.float32)
    columns, rows = _within(left, right, width), _within(top, bottom, height)
    down, across = _weights(rows, height), _weights(columns, width)
    whole: Floats = _mirror(image, rows, columns).astype(np.float32)
    for part in _padding_of(down, across):  # a blur of the whole image would take seconds
        weight = np.minimum(down[part[0], None], across[None, part[1]]) ** 4
        weight = weight if image.ndim == 2 else weight[..., None]
        blurred = _blurred_part(image, rows[part[0]], columns[part[1]])
        whole[part] = whole[part] * weight + blurred * (1 - weight)
    return whole


def _padding_of(down: Floats, across: Floats) -> Iterator[tuple[slice, slice]]:
    """The parts of a box where the sharp image does not count fully: above, below, left and right of the image. `down`
    and `across`: how much it counts along each axis."""
    (first, last), (upper, lower) = _full(across), _full(down)
    every, between = slice(0, len(across)), slice(upper, lower)
    strips = (
        (slice(0, upper), every), (slice(lower, len(down)), every), (between, slice(0, first)),
        (between, slice(last, len(across))),
    )  # fmt: skip
    return (strip for strip in strips if all(part.start < part.stop for part in strip))


def _full(weights: Floats) -> tuple[int, int]:
    """Where the weights of 1 begin and end."""
    full = np.flatnonzero(weights >= 1)
    return (int(full[0]), int(full[-1]) + 1) if len(full) else (len(weights), len(weights))


def _within(start: int, end: int, length: int) -> NDArray[np.int64]:
    """Places from `start` to `end` on an axis of the image, those beyond the padding moved to its end."""
    before = length // 2
    return np.clip(np.arange(start, end), -before, 2 * length - before - 1)


def _mirror(image: Image, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Image:
    """The pixels at these places of the image, mirrored at its outermost pixels."""
    part: Image = image[_reflect(rows, image.shape[0])][:, _reflect(columns, image.shape[1])]
    return part


def _reflect(places: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    period = max(1, 2 * (length - 1))
    folded = places % period
    return np.minimum(folded, period - folded) if length > 1 else np.zeros_like(places)


def _weights(places: NDArray[np.int64], length: int) -> Floats:
    """How much the sharp image counts along an axis, before the fourth power: from 0 at the padding's end to 1."""
    before, last = length // 2, 2 * length - 1
    ramp = max(length / 2, 1)
    from_start = places + before
    weights: Floats = np.clip(np.minimum(from_start, last - from_start) / ramp, 0, 1).astype(np.float32)
    return weights


def _blurred_part(image: Image, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Floats:
    """The blurred padded image at these places: halved, blurred by a hundredth of the image's height, and doubled.

    Only what these places read is computed.
    """
    height, width = image.shape[:2]
    sigma = height // 100 or height / 100
    margin = 2 * (math.ceil(_TRUNCATE * sigma) + 2)
    down, across = _even(rows, height, margin), _even(columns, width, margin)
    part = _mirror(image, down, across)
    halved = cv2.resize(part, (part.shape[1] // 2, part.shape[0] // 2), interpolation=cv2.INTER_LINEAR)
    blurred = _blur(halved.astype(np.float32), sigma)
    whole = cv2.resize(blurred, (part.shape[1], part.shape[0]), interpolation=cv2.INTER_LINEAR)
    found: Floats = whole[rows - down[0]][:, columns - across[0]]
    return found


def _even(places: NDArray[np.int64], length: int, margin: int) -> NDArray[np.int64]:
    """Every place that the halved copy needs for these, in whole pairs counted from the padding's start."""
    before = length // 2
    start = max(0, int(places.min()) + before - margin) // 2 * 2
    end = min(2 * length, (int(places.max()) + before + margin + 2) // 2 * 2)
    return np.arange(start - before, end - before)


def _blur(image: Floats, sigma: float) -> Floats:
    """A Gaussian blur, which repeats the outermost pixels beyond the edge."""
    side = 2 * int(_TRUNCATE * sigma + 0.5) + 1
    blurred: Floats = cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    return blurred


def _enlarging(across: float, down: float) -> Matrix:
    """From the pixels of an image that was shrunk to those of the image."""
    return np.array([[across, 0.0, (across - 1) / 2], [0.0, down, (down - 1) / 2], [0.0, 0.0, 1.0]])
