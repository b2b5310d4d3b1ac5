"""What every row makes images from, stored in one file so that all rows read the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.errors import DatasetError, ImageError, OptionError
from starcast.export.gate.images import draw_images
from starcast.images.fit import fit
from starcast.images.read import read_image
from starcast.train.data.folders import scan

SEED = 20
IMAGE, STYLE, EXTRA = "image", "style", "extra."  # names in the file; a further input's own name follows the last


@dataclass(frozen=True)
class Inputs:
    """The inputs of N images.

    `images` are the sources, uint8 [N, H, W, 3], with `styles` float32 [N or 1, S]. A model without a source has none:
    it makes images from `styles` float32 [N, layers, S] and from noise. `extra` are the graph's further inputs by their
    names, in its order: noise float32 [N or 1, 1, h, w], or what is made of the sources, such as masks of faces float32
    [N, C, h, w]. On a GPU the arrays may be there.
    """

    images: NDArray[np.uint8] | None
    styles: NDArray[np.float32]
    extra: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.styles if self.images is None else self.images)

    @property
    def feeds(self) -> dict[str, NDArray[Any]]:
        """The inputs of a plain frame graph, by name."""
        images = {} if self.images is None else {IMAGE: self.images}
        return {**images, STYLE: self.styles, **self.extra}

    def with_feeds(self, feeds: Mapping[str, Any]) -> Inputs:
        """Inputs with these arrays, named as in `feeds`."""
        return Inputs(feeds.get(IMAGE), feeds[STYLE], {name: feeds[name] for name in self.extra})

    def take(self, places: slice | NDArray[np.intp]) -> Inputs:
        """The inputs of some of the images. An array that all images share stays as it is."""
        counted, *_ = self.feeds
        return self.with_feeds(
            {
                name: np.ascontiguousarray(array[places]) if name == counted or len(array) > 1 else array
                for name, array in self.feeds.items()
            }
        )

    def repeated(self, count: int) -> Inputs:
        """The inputs of `count` images, by repeating these."""
        return self.take(np.arange(count) % len(self))

    def save(self, path: Path) -> None:
        names = {name: name if name in (IMAGE, STYLE) else f"{EXTRA}{name}" for name in self.feeds}
        np.savez(path, **{names[name]: array for name, array in self.feeds.items()})  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Inputs:
        with np.load(path) as arrays:
            extra = {name.removeprefix(EXTRA): arrays[name] for name in arrays.files if name.startswith(EXTRA)}
            return cls(arrays[IMAGE] if IMAGE in arrays.files else None, arrays[STYLE], extra)


def held_out_images(data: Path | None, count: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Images uint8 [count, H, W, 3] that neither training nor calibration has seen, from the domains in turn. Generated
    images make up for missing ones."""
    return _read_images(_files(data, held_out=True), count, size, SEED)


def training_images(data: Path | None, count: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Images uint8 [count, H, W, 3] to calibrate on, from the training images of the domains in turn. Generated images
    make up for missing ones."""
    return _read_images(_files(data, held_out=False), count, size, SEED + 1)


def parse_size(text: str) -> tuple[int, int]:
    """`256` or `512x288` (WIDTHxHEIGHT) as (height, width). Raises OptionError."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in parts):
        raise OptionError(f"--size is {text!r}: give WIDTHxHEIGHT in pixels, or one number for a square")
    return int(parts[-1]), int(parts[0])


def parse_counts(flag: str, texts: Sequence[str]) -> list[int]:
    """Whole numbers of at least 1. Raises OptionError that names the flag."""
    if not all(text.isascii() and text.isdecimal() and int(text) > 0 for text in texts):
        raise OptionError(f"{flag} is {','.join(texts)!r}: give whole numbers of at least 1, as 1,8,64")
    return [int(text) for text in texts]


def size_text(size: tuple[int, int]) -> str:
    """(height, width) as WIDTHxHEIGHT, the way sizes are typed and shown."""
    height, width = size
    return f"{width}x{height}"


def check_size(size: tuple[int, int], stride: int) -> None:
    """Raise OptionError unless the network can halve both sides as often as it needs to."""
    if size[0] % stride or size[1] % stride:
        raise OptionError(f"--size is {size_text(size)}: both sides must be multiples of {stride}")


def _read_images(files: list[Path], count: int, size: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    images: list[NDArray[np.uint8]] = []
    for file in files:
        if len(images) == count:
            break
        try:
            images.append(fit(read_image(file), size))
        except ImageError:
            continue  # `dataset check` reports bad files
    generated = draw_images(count - len(images), *size, seed=seed) if len(images) < count else ()
    return np.stack([*images, *generated])


def _files(data: Path | None, *, held_out: bool) -> list[Path]:
    """Image files of a data set, from the domains in turn; none if the data set is missing."""
    if data is None:
        return []
    try:
        domains = scan(data).domains
    except (DatasetError, OSError):
        return []
    columns = [domain.held_out if held_out else domain.training for domain in domains]
    longest = max((len(column) for column in columns), default=0)
    return [column[row] for row in range(longest) for column in columns if row < len(column)]
