"""What every call into Pillow needs: the errors its decoders raise, and its process-wide settings out of the way."""

from __future__ import annotations

import contextlib
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator

from PIL import Image

# Decoders of damaged files raise nearly everything: Pillow documents OSError and SyntaxError, and its plugins let
# through what their parsing raises (struct, zlib, index, key, type, attribute, overflow, division, recursion …).
# One damaged file must not stop a folder of thousands, so all of these mean "damaged", but only around the decoder's
# own calls. KeyboardInterrupt and SystemExit pass.
DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, MemoryError,
    RuntimeError, AssertionError, BufferError, struct.error, zlib.error, Image.DecompressionBombError, Warning,
)  # fmt: skip


class _QuietPillow:
    """While any thread reads: no warnings from Pillow, and no pixel limit of its own, which `max_pixels` replaces.

    Both are settings of the process. Readers are counted, because `warnings.catch_warnings` in two threads at once
    would restore them in the wrong order.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._restore = contextlib.ExitStack()

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
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
