"""Where the model's image is cut out of a frame, and where its translation goes back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from starcast.images.fit import NATIVE, centred_box, fit, padded_box

if TYPE_CHECKING:
    from starcast.runtime.video.input.film import Film
    from starcast.runtime.video.options import VideoOptions

Size = tuple[int, int]  # height, width
Box = tuple[int, int, int, int]  # left, top, right, bottom, in whole pixels
Image = NDArray[np.uint8]
HARD = (False, False, False, False)


@dataclass(frozen=True)
class Placing:
    """`part` of a frame shows what `inside` the model's image does. `soft`: the sides (left, top, right, bottom) at
    which the part ends inside the frame."""

    part: Box
    inside: Box
    soft: tuple[bool, bool, bool, bool]


@dataclass(frozen=True)
class Geometry:
    """How frames become the model's images, of `size`, as `mode` of `fit` says.

    `frame`: the size of the whole frames that the translations are put back into; None: they are not, and the film
    consists of the model's images. `roi`: the part of the frame that is translated; None: all of it. `keeps_source`:
    what the model gets is needed beside its translation.
    """

    size: Size
    mode: str
    frame: Size | None = None
    roi: Box | None = None
    keeps_source: bool = False

    @property
    def output(self) -> Size:
        """(height, width) of the frames whose translations are composed."""
        return self.frame or self.size

    def cut(self, pixels: Image) -> tuple[Image, Image | None, Placing | None]:
        """The model's image of a frame, uint8 [H, W, 3], upright. If it is composed with its source: also the whole
        frame, in the film's size, and the image's place in it."""
        rows, columns = pixels.shape[:2]
        if self.frame is None:
            image = fit_frame(pixels, self.size, self.mode)
            if not self.keeps_source:
                return image, None, None
            shown = place((0, 0, columns, rows), self.size, self.mode).inside
            return image, np.ascontiguousarray(image), Placing(shown, shown, HARD)
        whole = np.ascontiguousarray(fit_frame(pixels, self.frame, NATIVE))
        shown = place((0, 0, columns, rows), self.frame, NATIVE).inside  # the rest are margins
        left, top, right, bottom = box = self.roi or shown
        placing = place(box, self.size, self.mode, within=(0, 0, *self.frame[::-1]) if self.roi else shown)
        return fit_frame(whole[top:bottom, left:right], self.size, self.mode), whole, placing

    def cut_alpha(self, alpha: Image) -> Image:
        """The transparency of the film's frames: uint8 [H, W], upright, fitted like their pixels."""
        if self.frame is None:
            return fit_frame(alpha, self.size, self.mode)
        return fit_frame(alpha, self.frame, NATIVE)


def geometry_of(options: VideoOptions, source: Film, model: Size) -> Geometry:
    """The geometry of a film that is translated by a model of `model` (height, width). Raises OptionError."""
    roi = options.roi_in(source.shown_size, source.name)
    mode, size = options.fit, model
    if options.align or mode == NATIVE:  # frames may change size mid-stream; the size of the output does not
        mode, size = NATIVE, source.shown_size if roi is None else (roi[3] - roi[1], roi[2] - roi[0])
    frame = source.shown_size if options.puts_back else None
    return Geometry(size, mode, frame, roi, keeps_source=options.composes)


def fit_frame(pixels: Image, size: Size, mode: str) -> Image:
    """One frame, fitted as `mode` says. A native frame that no longer has the first one's size is scaled, and gets
    black margins if its aspect is another: circles stay round."""
    rows, columns = pixels.shape[:2]
    return fit(pixels, size, _native_mode((rows, columns), size) if mode == NATIVE else mode)


@lru_cache(maxsize=64)
def place(box: Box, size: Size, mode: str, within: Box | None = None) -> Placing:
    """The placing of `box` in a frame that `fit_frame` fits to `size`. `within`: where the frame has pixels."""
    left, top, right, bottom = box
    rows, columns = bottom - top, right - left
    limits = within or box
    if mode == NATIVE:
        mode = _native_mode((rows, columns), size)
    inside = (0, 0, size[1], size[0])
    if (rows, columns) == size:
        pass
    elif mode == "pad":
        inside = padded_box(rows, columns, size)
    elif mode == "crop":
        part = centred_box(rows, columns, size[0] / size[1])
        box = (left + part[0], top + part[1], left + part[2], top + part[3])
    return Placing(box, inside, (
        box[0] > limits[0], box[1] > limits[1], box[2] < limits[2], box[3] < limits[3]
    ))  # fmt: skip


def resample(image: Image, size: Size) -> Image:
    """An image in another size, with pixel centres where they belong: averaged where it shrinks, cubic where it grows.
    One that has the size is returned as it is."""
    for axis in (0, 1):  # a side that shrinks, before one that grows
        if size[axis] < image.shape[axis]:
            shrunk = [image.shape[0], image.shape[1]]
            shrunk[axis] = size[axis]
            image = np.asarray(cv2.resize(image, shrunk[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    if size == image.shape[:2]:
        return image
    return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def patch_for(part: Size, translation: Image, placing: Placing) -> Image:
    """What of a translation goes into a part of the frame, in that part's size; a copy."""
    left, top, right, bottom = placing.inside
    shown = translation[top:bottom, left:right]
    patch = resample(shown, part)
    return shown.copy() if patch is shown else patch


def soften(patch: Image, part: Image, soft: tuple[bool, bool, bool, bool], feather: float) -> None:
    """Mix `patch` with the part of the frame that it will replace, in place.

    At the soft sides only the frame shows; the weight of the patch grows inwards, to 1 at `feather` times the part's
    shorter side. Values are mixed as they are stored (gamma-encoded).
    """
    height, width = patch.shape[:2]
    for rows, columns, weight in _edges((height, width), soft, feather):
        patch[rows, columns] = cv2.blendLinear(patch[rows, columns], part[rows, columns], weight, 1 - weight)


@lru_cache(maxsize=8)
def _edges(
    size: Size, soft: tuple[bool, bool, bool, bool], feather: float
) -> list[tuple[slice, slice, NDArray[np.float32]]]:
    """The strips of a part in which the frame shows through: rows, columns, and the translation's weight."""
    (height, width), (left, top, right, bottom) = size, soft
    depth = min(feather * min(size), min(size) / 2)
    if depth <= 0.5:  # the outermost pixel's centre is that far inside
        return []
    strip = int(np.ceil(depth))
    down, across = _ramp(height, depth, top, bottom), _ramp(width, depth, left, right)
    first = strip if top else 0
    last = max(first, height - strip) if bottom else height
    right_strip = max(strip if left else 0, width - strip)
    strips = [
        *([(slice(0, first), slice(0, width))] if top else []),
        *([(slice(last, height), slice(0, width))] if bottom else []),
        *([(slice(first, last), slice(0, strip))] if left else []),
        *([(slice(first, last), slice(right_strip, width))] if right else []),
    ]
    return [
        (rows, columns, np.ascontiguousarray(down[rows, None] * across[None, columns]))
        for rows, columns in strips
        if rows.stop > rows.start and columns.stop > columns.start
    ]


def _ramp(length: int, depth: float, at_start: bool, at_end: bool) -> NDArray[np.float32]:
    """The weight along one side: 0 at a soft end, 1 from `depth` pixels on, without a crease (smoothstep)."""
    place = np.arange(length) + 0.5
    inside = np.ones(length)
    if at_start:
        inside = np.minimum(inside, place / depth)
    if at_end:
        inside = np.minimum(inside, place[::-1] / depth)
    weight: NDArray[np.float32] = (inside * inside * (3 - 2 * inside)).astype(np.float32)
    return weight


def _native_mode(cut: Size, size: Size) -> str:
    (rows, columns), (height, width) = cut, size
    return "stretch" if abs(rows * width - columns * height) <= max(rows, columns, *size) else "pad"
