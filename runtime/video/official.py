"""The layout of StarGAN v2's interpolation videos: sources above their translations, beside a strip of references.

    reference k      black    source 1         source 2         …
    reference k+1    black    1 translated     2 translated     …

The strip slides up with the style: at a reference's own style, that reference stands in the lower row. Without
references, there is no strip. The official program keeps all frames in memory, and fails if no two consecutive
references share a domain.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starcast.errors import ImageError, OptionError, printable
from starcast.images.fit import fit
from starcast.images.read import read_stored
from starcast.runtime.stages import slices
from starcast.runtime.style_requests import StyleRequest
from starcast.runtime.translator import Translator
from starcast.runtime.video.timeline.style_path import Stop, count_visits, visits

MARGIN = 32  # black columns between the strip and the sources, at any size of images
LONGEST_SIDE = 16384  # pixels that H.264's encoder takes
SLOWNESS = 2  # the official videos show each frame for two of their 30 per second


class Grid:
    """Sources, uint8 RGB [N, H, W, 3], with their translations to the styles of `requests`, which are grouped by
    domain. `paths`: where the sources are from. Raises OptionError if there are too many."""

    def __init__(
        self, sources: NDArray[np.uint8], paths: Sequence[Path], requests: Sequence[StyleRequest]
    ) -> None:  # fmt: skip
        self.count, height, width = sources.shape[:3]
        self.paths = tuple(paths)
        self.sample = sources[:1]
        self._sources, self._requests, self._tile = sources, requests, (height, width)
        self._strip = width + MARGIN if any(request.reference is not None for request in requests) else 0
        self.size = 2 * height, self._strip + self.count * width
        if max(self.size) > LONGEST_SIDE:
            most = (LONGEST_SIDE - self._strip) // width
            raise OptionError(
                f"{self.count} images make frames of {self.size[1]}x{self.size[0]} pixels, and a video has at most "
                f"{LONGEST_SIDE} on a side: give at most {most} of them"
            )
        self._read = functools.lru_cache(maxsize=2)(self._reference)  # the strip shows two

    def check(self, translator: Translator) -> None:
        """Raise ImageError if the bundle takes no images of this size."""
        height, width = self._tile
        reason = translator.why_not(height, width)
        if reason is not None:
            raise ImageError(f"{printable(self.paths[0])} has {width}x{height} pixels: {reason}")

    def stops(self, styles: NDArray[np.float32], frames_per_step: int) -> Iterator[Stop]:
        """The film's stops."""
        return visits(styles, self._groups, frames_per_step)

    def length(self, frames_per_step: int) -> int:
        """The film's frames."""
        return count_visits(self._groups, frames_per_step)

    @property
    def _groups(self) -> list[str | None]:
        return [request.domain for request in self._requests]

    def images(self, translator: Translator, styles: NDArray[np.float32], batch: int) -> NDArray[np.uint8]:
        """The sources translated to each style, [styles * N, H, W, 3], in batches of at most `batch`."""
        numbers = np.arange(len(styles) * self.count)
        parts = [numbers[part] for part in slices(len(numbers), batch)]
        return np.concatenate(
            [translator(self._sources[part % self.count], styles[part // self.count]) for part in parts]
        )

    def frame(self, images: NDArray[np.uint8], stop: Stop) -> NDArray[np.uint8]:
        """The frame of a stop: `images` are the translations of the sources, [N, H, W, 3]."""
        height, width = self._tile
        frame = np.zeros((*self.size, 3), np.uint8)
        for row, tiles in enumerate((self._sources, images)):
            frame[row * height : (row + 1) * height, self._strip :] = np.concatenate(tiles, axis=1)
        if self._strip:
            top = int(height * (1 - stop.alpha))
            both = np.concatenate([self._read(stop.start), self._read(stop.end)])
            frame[top:, :width] = both[: 2 * height - top]
        return frame

    def _reference(self, number: int) -> NDArray[np.uint8]:
        path = self._requests[number].reference
        assert path is not None  # all styles are from references, or none is
        return fit(read_stored(path).pixels, self._tile, "stretch")


def group_by_domain(requests: Sequence[StyleRequest]) -> list[StyleRequest]:
    """The requests, grouped by domain; the domains are in the order of their first requests."""
    domains = list(dict.fromkeys(request.domain for request in requests))
    return sorted(requests, key=lambda request: domains.index(request.domain))
