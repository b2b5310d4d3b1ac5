"""Images that a caller hands over in Python: arrays, Pillow images, tensors, and lists of them, as uint8 RGB arrays.

Nothing is guessed: an array of another dtype or shape is refused in one sentence that says what it is, what is needed,
and how to get there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from starcast.errors import ImageError
from starcast.images.pillow import DECODER_ERRORS, quiet_pillow
from starcast.images.read import pixels_and_alpha

_CHANNELS, _IMAGE_DIMENSIONS = 3, 3


def one_image(value: Any, what: str) -> NDArray[np.uint8]:
    """One image, uint8 [H, W, 3], in C order. `what`: what it is for, such as "a reference".

    A Pillow image in any mode is read as `read_image` reads a file. Raises TypeError or ValueError for anything that is
    no image, and ImageError for a Pillow image whose file is damaged.
    """
    if isinstance(value, Image.Image):
        return _from_pillow(value, what)
    pixels = _bytes_of(value, what)
    if pixels.ndim != 3 or pixels.shape[2] != _CHANNELS or not pixels.size:
        raise ValueError(f"{what} must be an image [H, W, {_CHANNELS}], not {list(pixels.shape)}{_way_out(pixels)}")
    return np.ascontiguousarray(pixels)


def some_images(value: Any) -> tuple[NDArray[np.uint8], bool]:
    """Sources, uint8 [N, H, W, 3], in C order, and whether they were given as one image and not as a batch.

    Raises what `one_image` raises. A batch may be empty.
    """
    if isinstance(value, Image.Image):
        return _from_pillow(value, "a source")[None], True
    if isinstance(value, Sequence) and _is_list_of_images(value):
        return _stack([one_image(image, "a source") for image in value]), False
    pixels = _bytes_of(value, "a source")
    if pixels.ndim not in (3, 4) or pixels.shape[-1] != _CHANNELS:
        raise ValueError(
            f"sources must be [N, H, W, {_CHANNELS}] or one [H, W, {_CHANNELS}], not {list(pixels.shape)}"
            f"{_way_out(pixels)}"
        )
    batch = np.ascontiguousarray(pixels if pixels.ndim == 4 else pixels[None])
    if not all(batch.shape[1:]):
        raise ValueError(f"sources are {batch.shape[2]}x{batch.shape[1]}: there is nothing to translate")
    return batch, pixels.ndim == 3


def _is_list_of_images(value: Sequence[Any]) -> bool:
    """Whether each item is an image by itself; lists of numbers are not: they are one array."""
    return not isinstance(value, str | bytes) and any(
        isinstance(item, Image.Image | str | os.PathLike) or getattr(item, "ndim", 0) == _IMAGE_DIMENSIONS
        for item in value
    )


def _stack(images: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    sizes = {image.shape[:2] for image in images}
    if len(sizes) > 1:
        (height, width), (other_height, other_width) = sorted(sizes)[:2]
        raise ValueError(
            f"all sources of a call must have one size, not {width}x{height} and {other_width}x{other_height}: "
            "translate them one by one, or resize them first"
        )
    return np.stack(images)


def _from_pillow(image: Image.Image, what: str) -> NDArray[np.uint8]:
    if not all(image.size):
        raise ValueError(f"{what} is {image.width}x{image.height}: there is nothing to translate")
    try:
        with quiet_pillow():
            return np.ascontiguousarray(pixels_and_alpha(image)[0])
    except DECODER_ERRORS as error:
        raise ImageError(
            f"{what}, a Pillow image, cannot be decoded ({error}): open a whole copy of its file"
        ) from error


def _bytes_of(value: Any, what: str) -> NDArray[np.uint8]:
    """The array, which is known to be uint8 then."""
    wanted = f"{what} is uint8 RGB, 0 to 255, not"
    if value is None or isinstance(value, str | bytes | os.PathLike):
        raise TypeError(f"{wanted} {type(value).__name__}: read the file with `read_image` first")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # a ragged list, a tensor that tracks gradients
        raise TypeError(f"{wanted} {type(value).__name__} ({str(error).partition(chr(10))[0]})") from error
    if array.dtype != np.uint8:
        kind = type(value).__name__ if array.dtype == np.object_ else array.dtype
        raise TypeError(f"{wanted} {kind}{_range(array)}")
    return array


def _range(array: NDArray[Any]) -> str:
    """The range of an array that is not uint8, and how it becomes that."""
    if array.dtype == np.bool_:
        return ": multiply by 255 and convert with .astype(numpy.uint8)"
    if array.dtype.kind not in "iuf" or not np.isfinite(array).any():
        return ""
    finite = array[np.isfinite(array)]
    low, high = float(finite.min()), float(finite.max())
    rounded = ".round().astype(numpy.uint8)" if array.dtype.kind == "f" else ".astype(numpy.uint8)"
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        way = f": give (255 * images){rounded}"
    elif array.dtype.kind == "f" and low >= -1 and high <= 1:
        way = f": give (127.5 * (images + 1)){rounded}"
    elif low >= 0 and high <= 255:
        way = f": give images{rounded}"
    elif low >= 0 and high <= 65535:
        way = ": give (images / 257).round().astype(numpy.uint8), if white is 65535"
    else:
        way = ": scale it to 0 to 255, and convert with .astype(numpy.uint8)"
    return f" from {low:g} to {high:g}{way}"


def _way_out(pixels: NDArray[np.uint8]) -> str:
    """How a uint8 array of the wrong shape becomes one of the right shape; empty if that is not known."""
    shape, dimensions = pixels.shape, pixels.ndim
    if dimensions == 2 or (dimensions in (3, 4) and shape[-1] == 1):
        return (
            ": grey needs three channels, as PIL.Image.fromarray gives it" if dimensions < 4 else ": repeat the channel"
        )
    if dimensions in (3, 4) and shape[-1] == 4:
        return ": drop the alpha channel with [..., :3], or give PIL.Image.fromarray(image), which is put on white"
    if dimensions in (3, 4) and shape[-3] == _CHANNELS:
        axes = "(1, 2, 0)" if dimensions == 3 else "(0, 2, 3, 1)"
        return f": channels come last, as numpy.transpose(images, {axes}) puts them"
    return ""
