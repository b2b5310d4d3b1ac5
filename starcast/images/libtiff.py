"""Keep the TIFF library inside Pillow from writing to the terminal.

On a damaged compressed TIFF, libtiff prints lines to stderr that name no file, and Pillow raises an error anyway.
Pillow turns off libtiff's warnings but not its errors, and has no setting for them, so this sets it in the library that
comes with Pillow's wheels. Remove it once Pillow installs an error handler of its own.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import PIL

_PLACES = ("../pillow.libs/libtiff*.so*", ".dylibs/libtiff*.dylib")  # wheels for Linux and macOS


@functools.cache
def silence() -> bool:
    """Whether the library was found; if not, its lines appear, which does no harm."""
    folder = Path(PIL.__file__).parent
    libraries = [path for place in _PLACES for path in (folder / place).parent.glob(Path(place).name)]
    for library in libraries:
        try:
            handler = ctypes.CDLL(str(library)).TIFFSetErrorHandler
        except (OSError, AttributeError):
            return False
        handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        handler(None)
    return bool(libraries)
