"""HEIC and HEIF photographs, by pillow-heif where it is installed: the extra `heif`."""

from __future__ import annotations

import functools
import importlib.util
from typing import BinaryIO

from PIL.ImageFile import ImageFile

SUFFIXES = (".heic", ".heif", ".hif")
INSTALL = "pip install 'starcast[heif]'"


@functools.cache
def is_installed() -> bool:
    return importlib.util.find_spec("pillow_heif") is not None


def open_heif(file: BinaryIO) -> ImageFile:
    """The main image of a file, upright, with nothing decoded. Raises what Pillow's decoders raise.

    libheif turns it as the file says, and pillow-heif then sets the orientation in its EXIF to upright. Nothing is
    registered with Pillow, so other users of Pillow in this process see no difference.
    """
    from pillow_heif import HeifImageFile  # takes a tenth of a second: only where there is such a file

    image: ImageFile = HeifImageFile(file)
    return image
