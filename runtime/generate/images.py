"""The requested images, and how each gets its style and noise."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.errors import OptionError
from starcast.runtime.generate.options import GenerateOptions
from starcast.runtime.noise import NoiseChoice, NoiseMaker
from starcast.runtime.style_layers import mix
from starcast.runtime.translator import Translator

MOST_AHEAD = 2**26  # bytes of noise to draw ahead; that of larger batches is drawn when a part of them is made
_REMEMBERED = 1024  # styles cached, because mixes share them


@dataclass(frozen=True)
class ImageSpec:
    """One image to make: a seed, or the mix of two; `seed` None: the mean style."""

    seed: int | None
    fine_seed: int | None = None

    @property
    def name(self) -> str:
        """The file's name, without its suffix."""
        if self.seed is None:
            return "truncation_base"
        return f"seed{self.seed}" if self.fine_seed is None else f"mix{self.seed}-{self.fine_seed}"

    def facts(self, options: GenerateOptions, layer: int) -> dict[str, Any]:
        """How the image is made, as the record says it."""
        if self.seed is None:
            return {"label": self.name, "psi": 0.0}
        mixed = {} if self.fine_seed is None else {"fine_seed": self.fine_seed, "layer": layer}
        return {"label": self.name, "seed": self.seed, **mixed, "psi": options.psi}


MEAN = ImageSpec(None)


def list_specs(options: GenerateOptions) -> tuple[list[ImageSpec], int]:
    """The images of the seeds, then those of the mixes; and how many were named twice."""
    named = [ImageSpec(seed) for seed in options.chosen_seeds] + [ImageSpec(one, two) for one, two in options.mixes]
    distinct = list(dict.fromkeys(named))
    return distinct, len(named) - len(distinct)


def mixing_layer(options: GenerateOptions, layers: int | None) -> int:
    """The first layer that has the second style of a mix. Raises OptionError."""
    if not options.mix:
        return 0
    if layers is None or layers < 2:
        raise OptionError("--mix needs a model whose layers have styles of their own: leave it out")
    if options.layer is not None and options.layer >= layers:
        raise OptionError(f"--layer is {options.layer}, but the model's last layer is {layers - 1}: give less")
    return options.layer if options.layer is not None else layers // 2


@dataclass(frozen=True)
class Prepared:
    """Specs with the styles [N, layers, S] and the noise of their images, and the seconds that these took."""

    specs: Sequence[ImageSpec]
    styles: NDArray[np.float32]
    noise: NoiseChoice
    seconds: float


class ImageMaker:
    """Makes images [N, H, W, C] of specs, with a translator."""

    def __init__(self, translator: Translator, options: GenerateOptions, layer: int) -> None:
        self._translator = translator
        self._options = options
        self._layer = layer
        self._noise = NoiseMaker(translator.bundle)
        self._noise_bytes = sum(4 * one.height * one.width for one in translator.bundle.manifest.noise_inputs)
        self._style_of = lru_cache(_REMEMBERED)(lambda seed: translator.style(seed=seed, psi=options.psi))

    def style(self, spec: ImageSpec) -> NDArray[np.float32]:
        """The style of one image, [layers, S]."""
        if spec.seed is None:
            return self._translator.mean_style()
        style = self._style_of(spec.seed)
        return style if spec.fine_seed is None else mix(style, self._style_of(spec.fine_seed), self._layer)

    def prepare(self, specs: Sequence[ImageSpec]) -> Prepared:
        """The styles and noise of the images of specs, at least one. Another thread may prepare the next ones while
        these are made."""
        start = time.perf_counter()
        styles = np.stack([self.style(spec) for spec in specs])
        noise: NoiseChoice = self._options.noise
        if noise == "random":
            noise = seeds = [spec.seed or 0 for spec in specs]
            if self._noise_bytes * len(seeds) <= MOST_AHEAD:
                noise = list(self._noise.make(seeds, len(seeds))(slice(None)).values())
        return Prepared(specs, styles, noise, time.perf_counter() - start)

    def images(self, prepared: Prepared) -> NDArray[np.uint8]:
        """The images of what was prepared."""
        return self._translator.generate(prepared.styles, prepared.noise)


def chunks(specs: Sequence[ImageSpec], size: int) -> Iterator[Sequence[ImageSpec]]:
    """Consecutive parts of at most `size`."""
    for start in range(0, len(specs), size):
        yield specs[start : start + size]
