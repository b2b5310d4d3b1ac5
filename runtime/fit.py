"""Pictures of any size to the model's size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FITS = ("stretch", "crop", "pad")


def fit(image: NDArray[np.uint8], size: tuple[int, int], mode: str = "stretch") -> NDArray[np.uint8]:
    """uint8 [height, width, 3] from a picture of any size; one that has `size` already comes back untouched.

    stretch     the whole picture, aspect not kept: Pillow's antialiased bilinear, as in the official test transform
    crop        the largest centred part that has the aspect
    pad         the whole picture, aspect kept, centred on black
    """
    height, width = size
    if mode not in FITS:
        raise ValueError(f"fit takes one of {', '.join(FITS)}, not {mode!r}")
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image
    picture = Image.fromarray(np.ascontiguousarray(image))
    if mode == "pad":
        scale = min(height / rows, width / columns)
        inside = (max(1, round(columns * scale)), max(1, round(rows * scale)))
        canvas = Image.new("RGB", (width, height))
        canvas.paste(_resized(picture, inside), ((width - inside[0]) // 2, (height - inside[1]) // 2))
        return np.array(canvas)
    box = centred_box(rows, columns, height / width) if mode == "crop" else None
    return np.array(_resized(picture, (width, height), box))


def centred_box(height: int, width: int, aspect: float) -> tuple[float, float, float, float]:
    """Largest centred part with `aspect` = height / width, as (left, top, right, bottom) in the picture's pixels."""
    part_width = min(float(width), height / aspect)
    part_height = min(float(height), width * aspect)
    left, top = (width - part_width) / 2, (height - part_height) / 2
    return left, top, min(left + part_width, float(width)), min(top + part_height, float(height))


def _resized(
    picture: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> Image.Image:
    return picture.resize(size, Image.Resampling.BILINEAR, box=box)
