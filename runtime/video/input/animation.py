"""Animated PNG, WebP and AVIF as videos: every frame once, for as long as the file says.

Read by Pillow, like all images. FFmpeg 5 to 8 decode no animated WebP, drop the transparency of AVIF, and ignore the
colour profiles of all three.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Sequence, Set
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from starcast.errors import ImageError, printable
from starcast.images.multi_image import several_in
from starcast.images.pillow import DECODER_ERRORS
from starcast.images.read import damaged, open_image, pixels_and_alpha
from starcast.runtime.video.input import hdr
from starcast.runtime.video.input.film import Film, Frame
from starcast.runtime.video.input.input_options import REFUSE, USUAL_INPUT, InputOptions
from starcast.runtime.video.input.orientation import UPRIGHT
from starcast.runtime.video.input.tags import UNSTATED, Tags, conversion_note, refuse_hdr
from starcast.runtime.video.options import MAX_FRAME_PIXELS
from starcast.runtime.video.timing import Clock, ticks

if TYPE_CHECKING:
    from starcast.runtime.video.input.film import Item

_FORMATS = ("PNG", "WEBP", "AVIF")
_UNSTATED_S = Fraction(1, 10)  # as long as browsers show a frame whose duration is 0
_MILLISECOND = Fraction(1, 1000)  # WebP's unit, and Pillow's
_FINEST = 2**20  # ticks a second
_HEAD = 2**16  # bytes, in which an AVIF states its colours
_COLOURS = struct.Struct(">3H")
_CHUNK = struct.Struct(">I4s")  # of a PNG: length and type
_DELAY = struct.Struct(">20xHH2x")  # in a PNG's frame control chunk: seconds as a fraction


def is_animation(path: Path) -> bool:
    """Whether a file is an animated PNG, WebP or AVIF."""
    try:
        with open_image(path) as (image, _):
            return image.format in _FORMATS and several_in(image) is not None
    except ImageError:
        return False


class Animation(Film):
    """An open animation: frames alone, loops played once, transparency on white. Raises ImageError, or VideoError for
    HDR that is refused."""

    def __init__(self, path: Path, max_pixels: int = MAX_FRAME_PIXELS, reading: InputOptions = USUAL_INPUT) -> None:
        self.name = printable(path)
        self._keeps_alpha = reading.keep_alpha
        with ExitStack() as closing:
            image, file = closing.enter_context(open_image(path, max_pixels=max_pixels, limit_flag="--max-pixels"))
            self._image: Any = image
            self._first = int(getattr(image, "default_image", False))  # shown by programs that know no animations
            self.frames = int(getattr(image, "n_frames", 1)) - self._first
            self._delays_s = _png_delays(file) if image.format == "PNG" else []
            try:
                rows, columns = self._decode(0)[0].shape[:2]
            except DECODER_ERRORS as error:
                raise damaged(path, image, error) from error
            self.shown_size = (rows, columns)
            if image.format == "AVIF":
                self._notice_colours(file, reading)
            lasts_s = self._delays_s or [self._lasts_s(0)]
            self.rate = len(lasts_s) / sum(lasts_s, Fraction(0))
            self.time_base = _common_tick(lasts_s) if self._delays_s else _MILLISECOND
            self._stack = closing.pop_all()

    def _notice_colours(self, file: BinaryIO, reading: InputOptions) -> None:
        """Note that the frames are HDR, which Pillow leaves as it is coded. Raises VideoError if it must not be."""
        tags = _avif_tags(file)
        if hdr.is_hdr(tags.transfer):
            if reading.hdr == REFUSE:
                refuse_hdr(tags, self.name)
            self.stated = tags
            clause = conversion_note(tags)
            self.changes = [clause] if clause else []

    def close(self) -> None:
        self._stack.close()

    def read(self, audio_to_decode: Set[int] = frozenset()) -> Iterator[Item]:
        clock = Clock(self.time_base)
        for number in range(self.frames):
            try:
                pixels, alpha = self._decode(number)
            except DECODER_ERRORS:
                self.ends_early = True
                return
            lasts_s = self._lasts_s(number)
            time = clock.place(self._begins_s(), lasts_s)
            frame = VideoFrame.from_ndarray(pixels, format="rgb24")
            size, lasts = (frame.height, frame.width), max(1, ticks(lasts_s, self.time_base))
            yield Frame(frame, time, lasts, size, UPRIGHT, keeps_alpha=self._keeps_alpha, alpha=alpha)

    def _decode(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        self._image.seek(self._first + number)
        pixels, alpha = pixels_and_alpha(self._image)
        return np.ascontiguousarray(pixels), alpha

    def _lasts_s(self, number: int) -> Fraction:
        """How long the frame that was decoded last is shown."""
        if number < len(self._delays_s):
            return self._delays_s[number]
        return int(self._image.info.get("duration") or 0) * _MILLISECOND or _UNSTATED_S

    def _begins_s(self) -> Fraction | None:
        """When the frame that was decoded last begins, where that says more than the durations before it: in AVIF these
        are rounded."""
        return self._image.info["timestamp"] * _MILLISECOND if self._image.format == "AVIF" else None


def _avif_tags(file: BinaryIO) -> Tags:
    """What an AVIF states of its colours, in the first box of kind colr with numbers of H.273 (ISO/IEC 14496-12)."""
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(0)
    at = head.find(b"colrnclx")
    if at < 0 or len(head) < at + 8 + _COLOURS.size:
        return UNSTATED
    primaries, transfer, matrix = _COLOURS.unpack_from(head, at + 8)
    return Tags(matrix, primaries, transfer)


def _png_delays(file: BinaryIO) -> list[Fraction]:
    """The duration of each frame of an animated PNG, in seconds, exactly. Pillow has them as floats."""
    delays_s = []
    file.seek(8)
    while len(header := file.read(_CHUNK.size)) == _CHUNK.size:
        length, kind = _CHUNK.unpack(header)
        content = file.read(_DELAY.size) if kind == b"fcTL" and length == _DELAY.size else b""
        if content:
            numerator, denominator = _DELAY.unpack(content)
            delays_s.append(Fraction(numerator, denominator or 100) or _UNSTATED_S)
        file.seek(length - len(content) + 4, os.SEEK_CUR)  # 4: the checksum
    file.seek(0)
    return delays_s


def _common_tick(durations_s: Sequence[Fraction]) -> Fraction:
    """The longest tick of which all durations are multiples, or one so short that rounding to it cannot be seen."""
    return Fraction(1, min(_FINEST, math.lcm(*(duration.denominator for duration in durations_s))))
