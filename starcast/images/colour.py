"""A decoded Pillow image, in any mode and colour space, as uint8 RGB in sRGB on white.

1, L, LA, P, PA     expanded; transparency, also of palettes and of single colours, is kept until the end
I;16, I, F          scaled to 0..255 (Pillow itself would clip)
CMYK, YCbCr, LAB    converted; CMYK by its profile if it has one
ICC profile         converted to sRGB; a broken one, or one of another colour space, is ignored
alpha               composited on white
"""

from __future__ import annotations

import functools
import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_PROFILE_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
# What lcms and Pillow raise on a damaged profile; the image itself is still good.
_PROFILE_ERRORS = (ImageCms.PyCMSError, OSError, ValueError, TypeError, struct.error)


def to_srgb(image: Image.Image) -> NDArray[np.uint8]:
    """A decoded image as uint8 RGB [H, W, 3].

    With 16 bits a channel, Pillow keeps the high byte of each colour, at most 1 level below the rounded value.
    """
    return to_srgb_and_alpha(image)[0]


def to_srgb_and_alpha(image: Image.Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """`to_srgb`, and the transparency that it puts on white: uint8 [H, W], 255 opaque; None if there is none."""
    colours, alpha = _split_alpha(_to_eight_bits(image))
    colours = _apply_profile(colours, image.info.get("icc_profile"))
    if colours.mode != "RGB":
        colours = _lab_to_rgb(colours) if colours.mode == "LAB" else colours.convert("RGB")
    if alpha is not None:
        white = Image.new("RGB", colours.size, "white")
        white.paste(colours, mask=alpha)
        colours = white
    pixels = np.array(colours, dtype=np.uint8)
    return pixels, None if alpha is None else np.array(alpha, dtype=np.uint8)


def scale_to_bytes(values: NDArray[Any], full: float | None) -> NDArray[np.uint8]:
    """One channel of any number type as bytes, rounded. `full` is the value of white.

    `full` None: the first of 1 (floats only), 255, 65535, 2^32 - 1 that no finite value exceeds. NaN becomes black.
    """
    numbers = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0, posinf=np.inf, neginf=0.0)
    if full is None:
        finite = numbers[np.isfinite(numbers)]
        largest = float(finite.max()) if finite.size else 0.0
        steps = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
        full = next((step for step in steps if largest <= step), float(2**32 - 1))
    return np.rint(np.clip(numbers / full, 0.0, 1.0) * 255).astype(np.uint8)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """The image in a mode of 8 bits a channel."""
    if image.mode.startswith("I;16"):
        grey = Image.fromarray(scale_to_bytes(np.asarray(image), 65535))
        clear = image.info.get("transparency")
        if isinstance(clear, int):  # a PNG's single transparent grey
            grey.putalpha(Image.fromarray(np.where(np.asarray(image) == clear, 0, 255).astype(np.uint8)))
        return grey
    if image.mode == "I":
        return Image.fromarray(scale_to_bytes(np.asarray(image), 65535 if image.format == "PPM" else None))
    if image.mode == "F":
        return Image.fromarray(scale_to_bytes(np.asarray(image), None))
    return image


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The colours without transparency (L, RGB, CMYK or LAB), and the alpha channel or None."""
    if image.mode in ("La", "RGBa"):  # colours multiplied by alpha
        image = image.convert(image.mode.upper())
    if image.mode in ("LA", "RGBA"):
        return image.convert(image.mode[:-1]), image.getchannel("A")
    if image.has_transparency_data:
        solid = image.convert("RGBA")
        return solid.convert("RGB"), solid.getchannel("A")
    if image.mode == "1":
        return image.convert("L"), None
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image, None
    return image.convert("RGB"), None


def _apply_profile(colours: Image.Image, profile: object) -> Image.Image:
    """Convert the colours to sRGB with an ICC profile, or leave them unchanged if no profile fits."""
    if not isinstance(profile, bytes) or not profile:
        return colours
    try:
        space, transform = _transform_of(profile)
        if space == "RGB" and colours.mode == "L":
            colours = colours.convert("RGB")
        if transform is None or space != colours.mode:
            return colours
        return ImageCms.applyTransform(colours, transform) or colours
    except _PROFILE_ERRORS:
        return colours


@functools.lru_cache(maxsize=16)
def _transform_of(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """(mode that the profile describes, transform to sRGB); None if the transform would change nothing.

    Most files are tagged with some variant of sRGB. Their values must stay untouched, but a transform may round
    them, so it is tried on a cube of colours first.
    """
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    mode = _PROFILE_SPACES.get(opened.profile.xcolor_space, "")
    if not mode:
        return "", None
    transform = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), mode, "RGB")
    if mode == "RGB":
        levels = np.arange(0, 256, 15, dtype=np.uint8)
        cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
        through = np.asarray(ImageCms.applyTransform(Image.fromarray(cube), transform), dtype=np.int16)
        if np.abs(through - cube).max() <= 1:
            return mode, None
    return mode, transform


def _lab_to_rgb(colours: Image.Image) -> Image.Image:
    converted = ImageCms.applyTransform(colours, _lab_transform())
    return converted if converted is not None else colours.convert("RGB")


@functools.lru_cache(maxsize=1)
def _lab_transform() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
