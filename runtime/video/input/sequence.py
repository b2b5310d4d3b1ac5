"""A sequence of numbered images as a video: each is shown for one frame, by the rate that is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from av.video.frame import VideoFrame

from starcast.errors import ImageError, printable
from starcast.images.read import StoredImage, read_stored
from starcast.runtime.video.input.film import Film, Frame
from starcast.runtime.video.input.input_options import USUAL_INPUT, USUAL_RATE, InputOptions
from starcast.runtime.video.input.orientation import UPRIGHT
from starcast.runtime.video.input.sequence_files import find_files
from starcast.runtime.video.options import MAX_FRAME_PIXELS

if TYPE_CHECKING:
    from starcast.runtime.video.input.film import Item

_NAMED = 5  # damaged images


class ImageSequence(Film):
    """A sequence, opened. Images may differ in size and format. One that cannot be read is reported, and the one before
    it is shown in its place. Raises OptionError, or ImageError if no image can be read."""

    def __init__(self, path: Path, max_pixels: int = MAX_FRAME_PIXELS, reading: InputOptions = USUAL_INPUT) -> None:
        self.name = printable(path)
        self._files = find_files(path)
        self._max_pixels = max_pixels
        self._keeps_alpha = reading.keep_alpha
        self.frames = len(self._files.names)
        self.rate = reading.rate or USUAL_RATE
        self.time_base = 1 / self.rate
        self._first = self._first_readable()
        self.shown_size = (self._first.pixels.shape[0], self._first.pixels.shape[1])
        clauses = self._files.remarks
        if reading.rate is None:
            rate = f"{float(USUAL_RATE):g}"
            clauses = [f"is a sequence of {self.frames} images, shown at {rate} frames per second: --fps sets another "
                       "rate", *clauses]  # fmt: skip
        self.changes = clauses
        self._unreadable = 0
        self._sentences: list[str] = []

    def close(self) -> None:
        """Nothing is open between images."""

    def read(self, audio_to_decode: Set[int] = frozenset()) -> Iterator[Item]:
        shown = self._first
        for number, path in enumerate(self._files.paths):
            try:
                shown = read_stored(path, max_pixels=self._max_pixels, limit_flag="--max-pixels")
            except ImageError as error:
                self._unreadable += 1
                if self._unreadable <= _NAMED:
                    self._sentences.append(f"{error}; the image before it is shown in its place")
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(shown.pixels), format="rgb24")
            size = (frame.height, frame.width)
            yield Frame(frame, number, 1, size, UPRIGHT, keeps_alpha=self._keeps_alpha, alpha=shown.alpha)

    @property
    def problems(self) -> Sequence[str]:
        more = self._unreadable - len(self._sentences)
        return [*self._sentences, *([f"{more} more images of {self.name} cannot be read"] if more else [])]

    def _first_readable(self) -> StoredImage:
        """The first image that can be read. Raises the error of the first one if there is none."""
        first: ImageError | None = None
        for path in self._files.paths:
            try:
                return read_stored(path, max_pixels=self._max_pixels, limit_flag="--max-pixels")
            except ImageError as error:
                first = first or error
        assert first is not None
        raise first
