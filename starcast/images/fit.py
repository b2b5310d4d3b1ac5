"""Fit images of any size to the model's size, or pad them to the next size that the model accepts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NATIVE = "native"
FITS = ("stretch", "crop", "pad", NATIVE)


def fit(image: NDArray[np.uint8], size: tuple[int, int], mode: str = "stretch") -> NDArray[np.uint8]:
    """Fit an image of any size to `size` (height, width); one that has that size is returned as it is.

    `image` is uint8 [H, W, 3], or [H, W] for a mask, which is 0 where `pad` adds black.

    stretch     the whole image, aspect not kept: Pillow's antialiased bilinear, as in the official test transform
    crop        the largest centred part with the aspect of `size`
    pad         the whole image, aspect kept, centred on black
    native      the image as it is
    """
    height, width = size
    if mode not in FITS:
        raise ValueError(f"fit takes one of {', '.join(FITS)}, not {mode!r}")
    rows, columns = image.shape[:2]
    if mode == NATIVE or (rows, columns) == (height, width):
        return image
    whole = Image.fromarray(np.ascontiguousarray(image))
    if mode == "pad":
        left, top, right, bottom = padded_box(rows, columns, size)
        canvas = Image.new(whole.mode, (width, height))
        canvas.paste(_resize(whole, (right - left, bottom - top)), (left, top))
        return np.array(canvas)
    if mode == "crop":
        whole = whole.crop(centred_box(rows, columns, height / width))
    return np.array(_resize(whole, (width, height)))


def to_multiples(images: NDArray[np.uint8], stride: int) -> NDArray[np.uint8]:
    """[N, H, W, C] with fewer than `stride` rows added below and columns on the right, so that both sides are multiples
    of `stride`. Cut the translation back to H, W.

    The margin is the image mirrored at its edge. The network normalises by the mean and variance of the whole image,
    and a mirrored margin keeps those of its surroundings. Repeating the edge gives streaks without texture, which lower
    the variance; black would also move the mean.
    """
    height, width = images.shape[1:3]
    below, beside = -height % stride, -width % stride
    if not below and not beside:
        return images
    return np.pad(images, ((0, 0), (0, below), (0, beside), (0, 0)), mode="symmetric")


def centred_box(height: int, width: int, aspect: float) -> tuple[int, int, int, int]:
    """Largest centred part with `aspect` = height / width, in whole pixels, as (left, top, right, bottom)."""
    part_width = max(1, round(min(width, height / aspect)))
    part_height = max(1, round(min(height, width * aspect)))
    left, top = (width - part_width) // 2, (height - part_height) // 2
    return left, top, left + part_width, top + part_height


def padded_box(rows: int, columns: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where `pad` shows an image of `rows` x `columns` pixels in one of `size` (height, width), as (left, top, right,
    bottom)."""
    height, width = size
    scale = min(height / rows, width / columns)
    part_width, part_height = max(1, round(columns * scale)), max(1, round(rows * scale))
    left, top = (width - part_width) // 2, (height - part_height) // 2
    return left, top, left + part_width, top + part_height


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize(size, Image.Resampling.BILINEAR)
