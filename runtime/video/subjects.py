"""What a morph shows as its style changes: translations of one image, or images generated from seeds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from starcast.errors import ImageError, OptionError, printable
from starcast.images.white import on_white
from starcast.runtime.bundle import Bundle
from starcast.runtime.translator import Translator
from starcast.runtime.video.options import MorphOptions
from starcast.runtime.video.timeline.style_path import Stop, loop

Images = NDArray[np.uint8]  # RGB [N, H, W, 3]


class Subject(Protocol):
    """What a film shows. `size`: (height, width). `sample`: an input of the engine, an image or a style, as a batch.
    `count`: the images of the engine in a frame."""

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def sample(self) -> NDArray[Any]: ...

    @property
    def count(self) -> int: ...

    def check(self, translator: Translator) -> None:
        """Raise a StarcastError if the film cannot be made."""

    def stops(self, styles: NDArray[np.float32], frames_per_step: int) -> Iterator[Stop]:
        """The film's path through the styles."""

    def images(self, translator: Translator, styles: NDArray[np.float32], batch: int) -> Images:
        """`count` images for each style, made in batches of at most `batch`."""

    def frame(self, images: Images, stop: Stop) -> NDArray[np.uint8]:
        """The frame, [H, W, 3], that shows the images of a stop."""


class _OneImage:
    """Frames that are the engine's images, along a closed loop."""

    count = 1

    def stops(self, styles: NDArray[np.float32], frames_per_step: int) -> Iterator[Stop]:
        return loop(styles, frames_per_step)

    def frame(self, images: Images, stop: Stop) -> NDArray[np.uint8]:
        frame: NDArray[np.uint8] = images[0]
        return frame


class Still(_OneImage):
    """An image, uint8 RGB [H, W, 3], that is translated. `path`: where it is from."""

    def __init__(self, image: NDArray[np.uint8], path: Path) -> None:
        self.size = image.shape[0], image.shape[1]
        self.sample = image[None]
        self.path = path

    def check(self, translator: Translator) -> None:
        height, width = self.size
        reason = translator.why_not(height, width)
        if reason is not None:
            raise ImageError(f"{printable(self.path)} has {width}x{height} pixels: {reason}")

    def images(self, translator: Translator, styles: NDArray[np.float32], batch: int) -> Images:
        return translator(np.repeat(self.sample, len(styles), axis=0), styles)


class Walk(_OneImage):
    """A walk between seeds, with a bundle that needs no source. Raises OptionError for options that need one."""

    def __init__(self, bundle: Bundle, options: MorphOptions) -> None:
        manifest = bundle.manifest
        if options.official:
            raise OptionError(
                f"--official shows images beside their translations, and {bundle.path} makes images from styles alone: "
                "leave out --official"
            )
        options.refuse_recursion(f"mixes the last output into a source, and {bundle.path} makes images without one")
        if options.refs or not options.seeds:
            raise OptionError(f"{bundle.path} makes images from seeds: give --seeds, such as --seeds 1-8")
        if options.label_flags:
            raise OptionError(f"{options.label_flags[0]} changes a source, and {bundle.path} has none: leave it out")
        if options.domain is not None and not manifest.domains:
            raise OptionError(f"{bundle.path} has no domains, only one kind of image: leave out --domain")
        if options.fit != MorphOptions.fit:
            raise OptionError(f"--fit is for a source, and {bundle.path} makes images without one: leave it out")
        self.size = manifest.trained_size
        self.sample = np.random.default_rng(0).standard_normal((1, *manifest.condition.shape)).astype(np.float32)
        self.is_transparent = manifest.output is not None and manifest.output.channels == 4
        self._seeds, self._domain, self._psi = options.chosen_seeds, options.domain, options.psi

    @property
    def facts(self) -> list[dict[str, Any]]:
        """The record's entry for each style."""
        return [{"label": f"seed{seed}", "seed": seed, "psi": self._psi} for seed in self._seeds]

    def styles(self, translator: Translator) -> NDArray[np.float32]:
        """The style of each seed, [seeds, layers, S]."""
        return np.stack([translator.style(self._domain, seed=seed, psi=self._psi) for seed in self._seeds])

    def check(self, translator: Translator) -> None:
        """Nothing to check here: `Translator.generate` raises if it cannot run."""

    def images(self, translator: Translator, styles: NDArray[np.float32], batch: int) -> Images:
        return on_white(translator.generate(styles))
