"""The one image reader: whatever a file holds becomes uint8 RGB, upright, in sRGB, transparency on white."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin, UnidentifiedImageError

from starcast.absence import absence_of
from starcast.errors import ImageError, printable, reason_of
from starcast.images import formats, heif, truncated_jpeg
from starcast.images.bit_depth import to_full_range
from starcast.images.colour import to_srgb_and_alpha
from starcast.images.metadata import Metadata, read_metadata
from starcast.images.multi_image import several_in
from starcast.images.pillow import DECODER_ERRORS, quiet_pillow

Value = TypeVar("Value")

MAX_PIXELS = 200_000_000  # 600 MB as RGB: more than any camera has, and little enough for most machines
LARGE_PIXELS = 25_000_000  # images beyond this are decoded one at a time: each takes up to 14 bytes a pixel

# EXIF orientation -> what puts the image upright ([H, W] or [H, W, 3])
_UPRIGHT: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image.swapaxes(0, 1)[:, ::-1],
    7: lambda image: image.swapaxes(0, 1)[::-1, ::-1],
    8: lambda image: image.swapaxes(0, 1)[::-1],
}
_ON_ITS_SIDE = (5, 6, 7, 8)
_ORIENTATION, SOFTWARE = 0x0112, 0x0131  # EXIF tags


class StoredImage(NamedTuple):
    """An image as `read_image` returns it, and what else its file holds.

    `mode` is the file's Pillow mode (RGB, L, P, CMYK, I;16 …), `mark` what `write_image` left in it. `alpha`, uint8
    [H, W] and upright, is None if nothing can be transparent. Metadata is as in the file, orientation included. `notes`
    are clauses that follow the file's name: what a user should know of how the file was read.
    """

    pixels: NDArray[np.uint8]
    mode: str
    mark: str | None
    alpha: NDArray[np.uint8] | None
    metadata: Metadata
    notes: tuple[str, ...] = ()


def read_image(
    path: str | os.PathLike[str],
    *,
    max_pixels: int = MAX_PIXELS,
    limit_flag: str | None = None,
    at_least: tuple[int, int] | None = None,
) -> NDArray[np.uint8]:
    """The first image of a file: uint8 [H, W, 3], RGB in sRGB, upright, transparency on white.

    Images of more than `max_pixels` pixels are refused once the header is read, before decoding; the error names
    `limit_flag`, if there is one. With `at_least` (height, width) a JPEG may be decoded at a half, a quarter or an
    eighth of its size, but no side becomes smaller than the larger of the two.
    Raises ImageError: one sentence that names the file, the cause and the next step.
    """
    return read_stored(path, max_pixels=max_pixels, limit_flag=limit_flag, at_least=at_least).pixels


def read_stored(
    path: str | os.PathLike[str],
    *,
    max_pixels: int = MAX_PIXELS,
    limit_flag: str | None = None,
    at_least: tuple[int, int] | None = None,
) -> StoredImage:
    """`read_image`, with what else the file holds."""
    path = Path(path)
    with open_image(path, max_pixels=max_pixels, limit_flag=limit_flag) as (image, file):
        large = image.size[0] * image.size[1] > LARGE_PIXELS
        try:
            with _one_large if large else contextlib.nullcontext():
                if isinstance(image, JpegImagePlugin.JpegImageFile):
                    stored = _stored(_load_jpeg(image, file, at_least))
                else:
                    image.load()
                    shown, note = to_full_range(image, file)
                    stored = _stored(image, shown)._replace(notes=(note,) if note else ())
        except DECODER_ERRORS as error:
            raise damaged(path, image, error) from error
        several = several_in(image)
        return stored if several is None else stored._replace(notes=(*stored.notes, several.remark()))


def holds_several(path: Path) -> bool:
    """Whether a file holds several frames or pages, of which only the first is used. Decodes nothing; False for a file
    that cannot be read."""
    try:
        if not path.is_file():  # a pipe would not open
            return False
        with path.open("rb") as file:
            if not formats.may_hold_several(file.read(formats.HEAD_BYTES)):
                return False
        with open_image(path) as (image, _):
            return several_in(image) is not None
    except (OSError, ImageError):
        return False


@contextlib.contextmanager
def open_image(
    path: Path, *, max_pixels: int = MAX_PIXELS, limit_flag: str | None = None
) -> Iterator[tuple[ImageFile.ImageFile, BinaryIO]]:
    """An image with its header read and nothing decoded, and its file. Raises ImageError as `read_image` does.

    Within the block, Pillow's own limits and warnings are off. Decoding may raise DECODER_ERRORS: see `damaged`.
    """
    or_raise = f", or raise {limit_flag}" if limit_flag else ""
    with _open_regular(path, max_pixels, or_raise) as file, quiet_pillow():
        head = file.read(formats.HEAD_BYTES)
        file.seek(0)
        foreign = formats.identify_foreign(head, path.suffix)
        is_heif = foreign is not None and foreign.is_heif and heif.is_installed()
        if foreign is not None and not is_heif:
            raise ImageError(f"{printable(path)} is {foreign.name}, which cannot be read here: {foreign.advice}")
        with contextlib.closing(_open_header(path, file, head, is_heif=is_heif)) as image:
            _check_size(path, image, max_pixels, or_raise)
            if image.format == "WEBP" and image.mode == "RGB" and several_in(image) is not None:
                _keep_uncovered_parts_clear(image)
            yield image, file


def _keep_uncovered_parts_clear(image: Any) -> None:
    """Have Pillow give an animated WebP with its transparency. It drops that if the header states none, but a frame
    may also be smaller than the canvas, which is transparent where no frame lies."""
    image.rawmode = image._mode = "RGBA"


def pixels_and_alpha(image: Image.Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """A Pillow image in any mode as `read_image` would return it: uint8 [H, W, 3], upright, transparency on white. And
    its transparency, uint8 [H, W]; None if nothing can be transparent.

    Raises what the decoder raises if the image is not loaded yet, and damaged.
    """
    image.load()
    stored = _stored(image)
    return stored.pixels, stored.alpha


def _load_jpeg(image: ImageFile.ImageFile, file: BinaryIO, at_least: tuple[int, int] | None) -> Image.Image:
    """The image decoded, at a smaller size where `at_least` allows. One that lacks only its end is whole; raises
    OSError if it lacks rows."""
    exact = (max(at_least), max(at_least)) if at_least is not None else image.size
    image.draft(image.mode, exact)
    try:
        image.load()
    except OSError:
        file.seek(0)
        whole = truncated_jpeg.complete(file.read())
        if whole is None:
            raise
        image = Image.open(io.BytesIO(whole), formats=["JPEG"])
        image.draft(image.mode, exact)
        image.load()
        return image
    file.seek(-min(truncated_jpeg.TAIL_BYTES, file.seek(0, os.SEEK_END)), os.SEEK_END)
    if truncated_jpeg.may_lack_rows(image, file.read()):
        file.seek(0)
        if truncated_jpeg.lacks_rows(file.read()):
            raise OSError("rows are missing at the end")
    return image


@contextlib.contextmanager
def _open_regular(path: Path, max_pixels: int, or_raise: str) -> Iterator[BinaryIO]:
    """The open file. A pipe or a device could hang or never end, so only regular files are accepted."""
    try:
        facts = path.stat()
        if stat.S_ISDIR(facts.st_mode):
            raise ImageError(f"{printable(path)} is a folder, not an image: give a file in it")
        if not stat.S_ISREG(facts.st_mode):
            raise ImageError(f"{printable(path)} is a pipe or a device, not a file: copy the image into a file first")
        if facts.st_size == 0:
            raise ImageError(f"{printable(path)} is empty (0 bytes): copy it again, or leave it out")
        # some decoders read the whole file first: no image within the limit needs more than 16 bytes a pixel
        if facts.st_size > 16 * max_pixels + 2**26:
            raise ImageError(
                f"{printable(path)} has {facts.st_size} bytes, more than {max_pixels} pixels can need: "
                f"leave it out{or_raise}"
            )
        file = path.open("rb")
    except FileNotFoundError as error:
        raise ImageError(f"{printable(path)} {absence_of(path)}") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise ImageError(
            f"{printable(path)} cannot be opened ({reason_of(error)}): check its name and rights"
        ) from error
    with file:
        yield file


def _open_header(path: Path, file: BinaryIO, head: bytes, *, is_heif: bool) -> ImageFile.ImageFile:
    """The image with its header read and nothing decoded."""
    known = [*formats.READ, *filter(None, [formats.READ_BY_SUFFIX.get(path.suffix.lower())])]
    if formats.is_avif(head) and not head[8:12].startswith(formats.AVIF_BRANDS_OF_PILLOW):
        file = io.BytesIO(head[:8] + b"avif" + file.read()[12:])
    try:
        return heif.open_heif(file) if is_heif else Image.open(file, formats=known)
    except UnidentifiedImageError as error:
        if formats.has_signature(head):
            raise damaged(path, None, error) from error
        what = "a text file" if formats.looks_like_text(head) else "not an image in a known format"
        raise ImageError(f"{printable(path)} is {what}: give {formats.READ_IN_WORDS}") from error
    except DECODER_ERRORS as error:
        raise damaged(path, None, error) from error


def _check_size(path: Path, image: Image.Image, max_pixels: int, or_raise: str) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"{printable(path)} has {width} x {height} pixels: there is nothing to read, leave it out")
    if width * height > max_pixels:
        raise ImageError(
            f"{printable(path)} has {width} x {height} pixels, more than the limit of {max_pixels}: "
            f"scale it down{or_raise}"
        )


def _exif_of(image: Image.Image, tag: int, type_: type[Value]) -> Value | None:
    """The value of an EXIF tag if it has this type, or None. Damaged metadata counts as absent: the pixels are good."""
    try:
        value = image.getexif().get(tag)
    except DECODER_ERRORS:
        return None
    return value if isinstance(value, type_) else None


def _stored(image: Image.Image, shown: Image.Image | None = None) -> StoredImage:
    """A loaded image, upright. Its orientation is in EXIF or XMP. `shown`: the image with its samples corrected."""
    pixels, alpha = to_srgb_and_alpha(image if shown is None else shown)
    metadata = read_metadata(image)
    orientation = _exif_of(image, _ORIENTATION, int) or 1
    turn = _UPRIGHT.get(orientation)
    if turn is not None:
        pixels = np.ascontiguousarray(turn(pixels))
        alpha = None if alpha is None else np.ascontiguousarray(turn(alpha))
        metadata = metadata.turned() if orientation in _ON_ITS_SIDE else metadata
    return StoredImage(pixels, image.mode, _exif_of(image, SOFTWARE, str), alpha, metadata)


def damaged(path: Path, image: Image.Image | None, error: BaseException) -> ImageError:
    """What a decoder's error means, as a sentence. `image`: None if not even the header could be read."""
    kind = (image and image.format) or "image"
    if isinstance(error, MemoryError):
        return ImageError(f"{printable(path)} does not fit into memory: scale it down, or leave it out")
    cause = printable(str(error).partition("\n")[0].strip())[:100] or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        cause = "its header cannot be read"
    return ImageError(f"{printable(path)} is damaged or cut short ({kind}: {cause}): copy it again, or leave it out")


_one_large = threading.Lock()
