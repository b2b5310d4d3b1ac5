"""Keep the TIFF library inside Pillow from writing to the terminal.

On a damaged compressed TIFF, libtiff prints lines to the process's stderr that name no file, and Pillow raises as
well. Pillow turns off the warnings, not the errors, and gives no access to the setting; so it is set in the library
that comes with Pillow's wheels. Not needed once Pillow installs an error handler of its own.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import PIL

_PLACES = ("../pillow.libs/libtiff*.so*", ".dylibs/libtiff*.dylib")  # wheels for Linux and macOS


@functools.cache
def silence() -> bool:
    """True where the library was found; elsewhere its lines appear, which does no harm."""
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
