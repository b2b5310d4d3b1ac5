"""Pictures in and out: whatever a file holds becomes uint8 RGB, upright, in sRGB; and back, never half written."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin, UnidentifiedImageError

from starcast.atomic import atomic_path
from starcast.errors import ImageError
from starcast.images import formats, libtiff
from starcast.images.colour import to_srgb
from starcast.images.fit import FITS, centred_box, fit

__all__ = [
    "FITS", "JPEG_QUALITY", "MAX_PIXELS", "WRITTEN_SUFFIXES", "centred_box", "fit", "mark_of", "read_image", "shown",
    "write_image",
]  # fmt: skip

MAX_PIXELS = 200_000_000  # 600 MB as RGB: larger than any camera's picture, small enough for most machines
LARGE_PIXELS = 25_000_000  # beyond this, one picture is decoded at a time: each takes up to 14 bytes a pixel
JPEG_QUALITY = 95

# Decoders of damaged files raise nearly everything: Pillow documents OSError and SyntaxError, and its plugins let
# through what their parsing gives (struct, zlib, index, key, type, attribute, overflow, division, recursion …).
# A damaged file must not stop a folder of thousands, so all of these mean "damaged" here, and only here:
# around the decoder's own calls. KeyboardInterrupt and SystemExit pass.
DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, MemoryError,
    RuntimeError, AssertionError, BufferError, struct.error, zlib.error, Image.DecompressionBombError, Warning,
)  # fmt: skip

# EXIF orientation -> what puts the picture upright ([H, W, 3])
_UPRIGHT: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image.swapaxes(0, 1)[:, ::-1],
    7: lambda image: image.swapaxes(0, 1)[::-1, ::-1],
    8: lambda image: image.swapaxes(0, 1)[::-1],
}
_ORIENTATION, _SOFTWARE = 0x0112, 0x0131  # EXIF tags

# suffix -> (Pillow's name, settings for a quality, None being the default)
_ENCODERS: dict[str, tuple[str, Callable[[int | None], dict[str, Any]]]] = {
    # photographs: as small as with Pillow's own level 6, in a third of the time
    ".png": ("PNG", lambda _: {"compress_level": 3}),
    ".jpg": ("JPEG", lambda quality: {"quality": quality or JPEG_QUALITY, "subsampling": "4:4:4"}),
    ".jpeg": ("JPEG", lambda quality: {"quality": quality or JPEG_QUALITY, "subsampling": "4:4:4"}),
    # lossless: smaller than PNG and faster at its least effort
    ".webp": ("WEBP", lambda quality: {"quality": quality or 0, "lossless": quality is None, "method": 0}),
}
WRITTEN_SUFFIXES = tuple(_ENCODERS)


def read_image(
    path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS, at_least: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """The first picture of a file: uint8 [H, W, 3], RGB in sRGB, upright, transparency on white.

    More than `max_pixels` pixels are refused from the header, before anything is decoded. With `at_least` (height,
    width) a JPEG may be decoded at a half, a quarter or an eighth, but no side smaller than the larger of the two.
    Raises ImageError: one sentence that names the file, the cause and the next step.
    """
    path = Path(path)
    libtiff.silence()
    with _regular_file(path, max_pixels) as file, _quiet_pillow():
        head = file.read(formats.HEAD_BYTES)
        file.seek(0)
        unread = formats.foreign(head, path.suffix)
        if unread is not None:
            raise ImageError(f"{shown(path)} is {unread[0]}, which cannot be read here: {unread[1]}")
        with contextlib.closing(_opened(path, file, head)) as image:
            _check_size(path, image, max_pixels)
            try:
                if at_least is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
                    image.draft(image.mode, (max(at_least), max(at_least)))
                large = image.size[0] * image.size[1] > LARGE_PIXELS
                with _one_large if large else contextlib.nullcontext():
                    image.load()
                    return _upright(to_srgb(image), image)
            except DECODER_ERRORS as error:
                raise _damaged(path, image.format or "picture", error) from error


def write_image(
    path: str | os.PathLike[str], image: NDArray[np.uint8], *, quality: int | None = None, mark: str | None = None
) -> None:
    """Write uint8 RGB [H, W, 3] as PNG, JPEG (95, 4:4:4) or WebP (lossless without `quality`), by the suffix.

    `mark` is a line of ASCII that goes into the EXIF field "Software", where `mark_of` finds it. The old file or the
    new one is there, never half of one. Raises ImageError.
    """
    path = Path(path)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise TypeError(f"write_image takes uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
    if path.suffix.lower() not in _ENCODERS:
        raise ImageError(
            f"{shown(path)} cannot be written: give a name that ends in {', '.join(WRITTEN_SUFFIXES[:-1])} "
            f"or {WRITTEN_SUFFIXES[-1]}"
        )
    format_name, settings = _ENCODERS[path.suffix.lower()]
    marked = {} if mark is None else {"exif": _exif_with(mark)}
    try:
        with atomic_path(path) as partial:
            Image.fromarray(np.ascontiguousarray(image)).save(
                partial, format=format_name, **settings(quality), **marked
            )
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ImageError(f"{shown(path)} cannot be written ({reason}): free the place or give another -o") from error


def mark_of(path: Path) -> str | None:
    """The mark that `write_image` left in a picture, from its header; None where there is none, or no picture."""
    if not path.is_file():  # a pipe would hang
        return None
    try:
        with _quiet_pillow(), Image.open(path, formats=("PNG", "JPEG", "WEBP")) as image:
            mark = image.getexif().get(_SOFTWARE)
    except DECODER_ERRORS:
        return None
    return mark if isinstance(mark, str) else None


def shown(path: str | os.PathLike[str]) -> str:
    """A path as one printable line: line breaks, control characters and undecodable bytes are escaped."""
    text = os.fspath(path)
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


@contextlib.contextmanager
def _regular_file(path: Path, max_pixels: int) -> Iterator[BinaryIO]:
    """The open file. A pipe or a device would hang or never end; all but regular files are refused."""
    try:
        facts = path.stat()
        if stat.S_ISDIR(facts.st_mode):
            raise ImageError(f"{shown(path)} is a folder, not a picture: give its files, or the folder as a source")
        if not stat.S_ISREG(facts.st_mode):
            raise ImageError(f"{shown(path)} is a pipe or a device, not a file: copy the picture into a file first")
        if facts.st_size == 0:
            raise ImageError(f"{shown(path)} is empty (0 bytes): copy it again, or leave it out")
        # some decoders read the whole file first: 16 bytes a pixel is more than any picture within the limit needs
        if facts.st_size > 16 * max_pixels + 2**26:
            raise ImageError(
                f"{shown(path)} has {facts.st_size} bytes, more than {max_pixels} pixels can need: "
                "leave it out, or raise --max-pixels"
            )
        file = path.open("rb")
    except FileNotFoundError as error:
        what = "is a link that leads nowhere" if path.is_symlink() else "does not exist"
        raise ImageError(f"{shown(path)} {what}: check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"{shown(path)} cannot be opened ({reason.lower()}): check its name and rights") from error
    with file:
        yield file


def _opened(path: Path, file: BinaryIO, head: bytes) -> ImageFile.ImageFile:
    """Header read, nothing decoded."""
    known = [*formats.READ, *filter(None, [formats.READ_BY_SUFFIX.get(path.suffix.lower())])]
    try:
        return Image.open(file, formats=known)
    except UnidentifiedImageError as error:
        if formats.has_signature(head):
            raise _damaged(path, "picture", error) from error
        looks = "a text file" if formats.looks_like_text(head) else "not a picture that is known here"
        raise ImageError(f"{shown(path)} is {looks}: give {formats.READ_IN_WORDS}") from error
    except DECODER_ERRORS as error:
        raise _damaged(path, "picture", error) from error


def _check_size(path: Path, image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"{shown(path)} has {width} x {height} pixels: there is nothing to read, leave it out")
    if width * height > max_pixels:
        raise ImageError(
            f"{shown(path)} has {width} x {height} pixels, more than the limit of {max_pixels}: "
            "scale it down, or raise --max-pixels"
        )


def _upright(pixels: NDArray[np.uint8], image: Image.Image) -> NDArray[np.uint8]:
    """Turned as EXIF or XMP says. Damaged metadata counts as none: the pixels are good."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
        turn = _UPRIGHT.get(orientation)
    except DECODER_ERRORS:
        turn = None
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


def _exif_with(mark: str) -> Image.Exif:
    exif = Image.Exif()
    exif[_SOFTWARE] = mark
    return exif


def _damaged(path: Path, kind: str, error: BaseException) -> ImageError:
    if isinstance(error, MemoryError):
        return ImageError(f"{shown(path)} does not fit into memory: scale it down, or leave it out")
    cause = shown(str(error).partition("\n")[0].strip())[:100] or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        cause = "its header cannot be read"
    return ImageError(f"{shown(path)} is damaged or cut short ({kind}: {cause}): copy it again, or leave it out")


class _QuietPillow:
    """While any thread reads: Pillow's warnings off, and its own pixel limit, for which `max_pixels` stands.

    Both are settings of the process; counted, because `warnings.catch_warnings` in two threads at once would restore
    them in the wrong order.
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


_quiet_pillow = _QuietPillow()
_one_large = threading.Lock()
