"""Write images as PNG, JPEG or WebP, never half a file, with a line that says what they were made with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from starcast.atomic import atomic_path
from starcast.errors import ImageError, printable, reason_of
from starcast.images.metadata import Metadata
from starcast.images.write_metadata import embed

JPEG_QUALITY = 95

# suffix -> (Pillow's name, function from a quality, or None for the default, to settings)
_ENCODERS: dict[str, tuple[str, Callable[[int | None], dict[str, Any]]]] = {
    # photographs: as small as with Pillow's own level 6, in a third of the time
    ".png": ("PNG", lambda _: {"compress_level": 3}),
    ".jpg": ("JPEG", lambda quality: {"quality": quality or JPEG_QUALITY, "subsampling": "4:4:4"}),
    ".jpeg": ("JPEG", lambda quality: {"quality": quality or JPEG_QUALITY, "subsampling": "4:4:4"}),
    # lossless: smaller than PNG, and faster at its least effort; exact: colours also where nothing is seen of them
    ".webp": (
        "WEBP",
        lambda quality: {"quality": quality or 0, "lossless": quality is None, "method": 0, "exact": True},
    ),
}
# pixels, by libjpeg and by WebP's definition
LONGEST_SIDES = {"JPEG": 65_500, "WEBP": 16_383}
_MODES = {"L": 1, "RGB": 3, "RGBA": 4}  # Pillow's, and their channels
WRITTEN_SUFFIXES = tuple(_ENCODERS)
WRITTEN_FORMATS = tuple({name: None for name, _ in _ENCODERS.values()})


def write_image(
    path: str | os.PathLike[str],
    image: NDArray[np.uint8] | Image.Image,
    *,
    quality: int | None = None,
    mark: str | None = None,
    metadata: Metadata | None = None,
) -> tuple[str, ...]:
    """Write uint8 [H, W, C], grey (1), RGB (3) or RGBA (4), as PNG, JPEG (95, 4:4:4) or WebP (lossless without
    `quality`). `image` may also be Pillow's, which spares a copy of a large one.

    The suffix decides the format; JPEG takes no RGBA. `metadata` is that of the image which this one was made from,
    and is corrected for it. `mark` is a line of ASCII for the EXIF field "Software", where `read_stored` finds it.
    Returns what of the metadata could not be kept, as clauses. Afterwards `path` is either the old file or the
    complete new one. Raises ImageError.
    """
    path = Path(path)
    height, width, channels = _shape_of(image)
    if path.suffix.lower() not in _ENCODERS:
        raise ImageError(
            f"{printable(path)} cannot be written: give a name that ends in {', '.join(WRITTEN_SUFFIXES[:-1])} "
            f"or {WRITTEN_SUFFIXES[-1]}"
        )
    format_name, settings = _ENCODERS[path.suffix.lower()]
    if channels == 4 and format_name == "JPEG":
        raise ImageError(f"{printable(path)} cannot be transparent: give a name that ends in .png or .webp")
    reason = why_too_large(path.suffix, (height, width))
    if reason is not None:
        raise ImageError(f"{printable(path)} cannot be written: {reason}")
    embedded, lost = embed(format_name, (height, width), mark=mark, metadata=metadata)
    try:
        with atomic_path(path) as partial:
            as_pillow(image).save(partial, format=format_name, **settings(quality), **embedded)
    except OSError as error:
        raise ImageError(
            f"{printable(path)} cannot be written ({reason_of(error)}): free some disk space, or choose another -o"
        ) from error
    return tuple(lost)


def as_pillow(image: NDArray[np.uint8] | Image.Image) -> Image.Image:
    """An image uint8 [H, W, C], or Pillow's own, as Pillow's."""
    if isinstance(image, Image.Image):
        return image
    return Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))


def _shape_of(image: NDArray[np.uint8] | Image.Image) -> tuple[int, int, int]:
    """(height, width, channels). Raises TypeError for an image of another kind."""
    if isinstance(image, Image.Image):
        if image.mode not in _MODES:
            raise TypeError(f"write_image takes images of Pillow's modes {', '.join(_MODES)}, not {image.mode}")
        return image.height, image.width, _MODES[image.mode]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in _MODES.values():
        raise TypeError(
            f"write_image takes uint8 [H, W, 1], [H, W, 3] or [H, W, 4], not {image.dtype} {list(image.shape)}"
        )
    height, width, channels = image.shape
    return height, width, channels


def why_too_large(suffix: str, size: tuple[int, ...]) -> str | None:
    """Why an image of `size` (height, width) does not fit into the format of a suffix, as a clause with the way out;
    None if it does."""
    format_name = _ENCODERS[suffix.lower()][0]
    longest = LONGEST_SIDES.get(format_name)
    if longest is None or max(size) <= longest:
        return None
    return f"{size[1]}x{size[0]} pixels are more than the {longest} a side that {format_name} can hold: choose PNG"
