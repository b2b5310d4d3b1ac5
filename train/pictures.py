"""One image file -> 8-bit RGB as a person sees it: upright, in sRGB, transparency on white.

The runtime reads pictures by the same rules (a test compares the two); the rooms do not import each other.
"""

from __future__ import annotations

import functools
import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from starcast.errors import ImageError

MAX_PIXELS = 178_956_970  # where Pillow stops too: 540 MB as RGB, asked of the header before anything is decoded
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "DIB", "GIF")  # some of Pillow's others start programs

# Pillow's plugins let nearly everything through on damaged files. One such file must not stop a run, so around the
# decoder's own calls all of these mean "damaged".
DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, MemoryError,
    RuntimeError, AssertionError, BufferError, struct.error, zlib.error,
)  # fmt: skip
_PROFILE_ERRORS = (ImageCms.PyCMSError, OSError, ValueError, TypeError, struct.error)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Pixels (H, W, 3), uint8 RGB. Raises ImageError, with the reason, for what cannot be read."""
    return to_rgb(open_picture(path), path)


def open_picture(path: Path) -> Image.Image:
    """The decoded picture in its own mode. Raises ImageError."""
    try:
        if path.stat().st_size == 0:
            raise ImageError(f"{path} is empty (0 bytes): copy it again, or leave it out")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata and of the size: the limit is ours
            with Image.open(path, formats=FORMATS) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise ImageError(
                        f"{path} has {picture.width} x {picture.height} pixels, more than {MAX_PIXELS}: scale it down"
                    )
                picture.load()
                return picture
    except FileNotFoundError as error:
        raise ImageError(f"{path} is a link that leads nowhere, or has gone: leave it out") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is not a picture, whatever its name says: leave it out") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path} has more pixels than can be read ({MAX_PIXELS} at most): scale it down") from error
    except DECODER_ERRORS as error:
        raise _damaged(path, error) from error


def to_rgb(picture: Image.Image, path: Path) -> NDArray[np.uint8]:
    """A decoded picture as (H, W, 3) uint8. Raises ImageError, which names `path`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            colours, alpha = _split_alpha(_eight_bits(_upright(picture)))
            colours = _in_srgb(colours, picture.info.get("icc_profile"))
            if alpha is not None:
                white = Image.new("RGB", colours.size, "white")
                white.paste(colours, mask=alpha)
                colours = white
            return np.array(colours, dtype=np.uint8)
    except DECODER_ERRORS as error:
        raise _damaged(path, error) from error


def _upright(picture: Image.Image) -> Image.Image:
    """Turned as the EXIF tag says. Damaged metadata counts as none: the pixels are good."""
    try:
        return ImageOps.exif_transpose(picture)
    except DECODER_ERRORS:
        return picture


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Deep greys as 8-bit greys; white is what the mode says, else the first usual white that no value exceeds."""
    if picture.mode.startswith("I;16"):
        return _scaled(np.asarray(picture), (65535.0,))
    if picture.mode == "I":
        return _scaled(np.asarray(picture), (255.0, 65535.0, 2.0**32 - 1))
    if picture.mode == "F":
        return _scaled(np.asarray(picture), (1.0, 255.0, 65535.0, 2.0**32 - 1))
    return picture


def _scaled(values: NDArray[Any], whites: tuple[float, ...]) -> Image.Image:
    numbers = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=whites[-1], neginf=0.0)
    white = next((white for white in whites if numbers.max(initial=0.0) <= white), whites[-1])
    return Image.fromarray(np.rint(np.clip(numbers / white, 0.0, 1.0) * 255).astype(np.uint8))


def _split_alpha(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The colours (L, RGB or CMYK) and the alpha channel, or None."""
    if picture.mode in ("LA", "RGBA"):
        return picture.convert(picture.mode[:-1]), picture.getchannel("A")
    if picture.has_transparency_data:
        solid = picture.convert("RGBA")
        return solid.convert("RGB"), solid.getchannel("A")
    return (picture if picture.mode in ("L", "RGB", "CMYK") else picture.convert("RGB")), None


def _in_srgb(colours: Image.Image, profile: object) -> Image.Image:
    """RGB, by the ICC profile where there is one for these channels. A broken profile counts as none."""
    if isinstance(profile, bytes) and profile:
        try:
            transform = _transform(profile, colours.mode)
            if transform is not None:
                return ImageCms.applyTransform(colours, transform) or colours.convert("RGB")
        except _PROFILE_ERRORS:
            return colours.convert("RGB")
    return colours.convert("RGB")


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From the profile to sRGB; None where it is for another mode, or where it would change nothing.

    Most files are tagged with some spelling of sRGB, whose values must come through untouched; a transform rounds.
    """
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(opened.profile.xcolor_space) != mode:
        return None
    transform = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), mode, "RGB")
    if mode == "RGB":
        levels = np.arange(0, 256, 15, dtype=np.uint8)
        cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
        through = np.asarray(ImageCms.applyTransform(Image.fromarray(cube), transform), dtype=np.int16)
        if np.abs(through - cube).max() <= 1:
            return None
    return transform


def _damaged(path: Path, error: BaseException) -> ImageError:
    cause = str(error).partition("\n")[0].strip()[:100] or type(error).__name__
    return ImageError(f"{path} is damaged or cut short ({cause}): copy it again, or leave it out")
