"""What every call into Pillow needs: the errors that decoders raise, and process-wide settings switched off."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import PIL
from PIL import Image

# Decoders of damaged files raise nearly everything: Pillow documents OSError and SyntaxError, and its plugins let
# through what their parsing raises (struct, zlib, index, key, type, attribute, overflow, division, recursion …).
# One damaged file must not stop a folder of thousands, so all of these mean "damaged", but only around the decoder's
# own calls. KeyboardInterrupt and SystemExit pass.
DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, MemoryError,
    RuntimeError, AssertionError, BufferError, struct.error, zlib.error, Image.DecompressionBombError, Warning,
)  # fmt: skip
_LIBTIFF = ("../pillow.libs/libtiff*.so*", ".dylibs/libtiff*.dylib")  # places in wheels for Linux and macOS


class _QuietPillow:
    """While any thread reads, turns off Pillow's warnings and its pixel limit, which `max_pixels` replaces.

    Both settings are process-wide. Readers are counted, because `warnings.catch_warnings` in two threads at once
    would restore them in the wrong order. The TIFF library is silenced for good.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._restore = contextlib.ExitStack()

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        silence_libtiff()
        with self._lock:
            if self._readers == 0:
                self._restore.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                self._restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
                Image.MAX_IMAGE_PIXELS = None
            self._readers += 1
        try:
            yield
        finally:
            with self._lock:
                self._readers -= 1
                if self._readers == 0:
                    self._restore.close()


quiet_pillow = _QuietPillow()


@functools.cache
def silence_libtiff() -> bool:
    """Keep the TIFF library inside Pillow from writing to the terminal. Returns whether the library was found; if not,
    its lines appear, which does no harm.

    On a damaged compressed TIFF, libtiff prints lines to stderr that name no file, and Pillow raises an error anyway.
    Pillow turns off libtiff's warnings but not its errors, and has no setting for them, so this removes libtiff's error
    handler, in the library that comes with Pillow's wheels. Delete this once Pillow installs its own handler.
    """
    folder = Path(PIL.__file__).parent
    libraries = [path for place in _LIBTIFF for path in (folder / place).parent.glob(Path(place).name)]
    for library in libraries:
        try:
            handler = ctypes.CDLL(str(library)).TIFFSetErrorHandler
        except (OSError, AttributeError):
            return False
        handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        handler(None)
    return bool(libraries)
