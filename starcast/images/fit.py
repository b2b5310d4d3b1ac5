"""Pictures of any size to the model's size, or to one that the model takes as it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NATIVE = "native"
FITS = ("stretch", "crop", "pad", NATIVE)


def fit(image: NDArray[np.uint8], size: tuple[int, int], mode: str = "stretch") -> NDArray[np.uint8]:
    """uint8 [height, width, 3] from a picture of any size; one that has `size` already comes back untouched.

    stretch     the whole picture, aspect not kept: Pillow's antialiased bilinear, as in the official test transform
    crop        the largest centred part that has the aspect
    pad         the whole picture, aspect kept, centred on black
    native      the picture as it is
    """
    height, width = size
    if mode not in FITS:
        raise ValueError(f"fit takes one of {', '.join(FITS)}, not {mode!r}")
    rows, columns = image.shape[:2]
    if mode == NATIVE or (rows, columns) == (height, width):
        return image
    picture = Image.fromarray(np.ascontiguousarray(image))
    if mode == "pad":
        scale = min(height / rows, width / columns)
        inside = (max(1, round(columns * scale)), max(1, round(rows * scale)))
        canvas = Image.new("RGB", (width, height))
        canvas.paste(_resized(picture, inside), ((width - inside[0]) // 2, (height - inside[1]) // 2))
        return np.array(canvas)
    if mode == "crop":
        picture = picture.crop(centred_box(rows, columns, height / width))
    return np.array(_resized(picture, (width, height)))


def to_multiples(images: NDArray[np.uint8], stride: int) -> NDArray[np.uint8]:
    """[N, H, W, C] with fewer than `stride` rows below and columns on the right, so that both sides are multiples of
    `stride`; itself where they are already. Cut the translation back to H, W.

    What is added is the picture mirrored at its edge. The network normalises by mean and variance over the whole
    picture, and a mirrored margin has those of what lies beside it. A repeated edge is streaks without texture, which
    lower the variance; black moves the mean as well.
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


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture.resize(size, Image.Resampling.BILINEAR)
