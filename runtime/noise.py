"""The noise that a generator adds to its features: the checkpoint's own, none, a seed's, or the caller's arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from starcast.errors import StyleError
from starcast.runtime.bundle import Bundle
from starcast.runtime.manifest import Manifest, NoiseInput
from starcast.runtime.seed_lists import LARGEST_SEED
from starcast.runtime.stored_arrays import read_arrays

CONSTANT, ZERO = "constant", "zero"
CONSTANT_SEED = 0  # of constant noise where the checkpoint has none
_STREAM = 1  # follows the seed, so that a seed's noise shares no numbers with its latent

NoiseChoice = str | int | Sequence[ArrayLike]
NoiseByInput = dict[str, NDArray[Any]]  # float32 [N or 1, 1, height, width] by input, in the order of the layers
NoiseFeeds = Callable[[slice], NoiseByInput]  # the noise for a part of a batch; parts are asked for in order


def draw_noise(inputs: Sequence[NoiseInput], draws: np.random.RandomState, count: int) -> NoiseByInput:
    """Noise for `count` images. Each image's layers are drawn together, so that the next image of the stream has the
    same noise wherever a batch is split."""
    noise = {one.name: np.empty((count, 1, one.height, one.width), np.float32) for one in inputs}
    for number in range(count):
        for one in inputs:
            noise[one.name][number, 0] = draws.standard_normal((one.height, one.width))
    return noise


def zero_noise(manifest: Manifest) -> NoiseFeeds:
    """No noise, for any images."""
    zeros: NoiseByInput = {
        one.name: np.zeros((1, 1, one.height, one.width), np.float32) for one in manifest.noise_inputs
    }  # fmt: skip
    return lambda part: zeros


class NoiseMaker:
    """Makes the noise of a bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._inputs = bundle.manifest.noise_inputs

    def make(self, noise: NoiseChoice, images: int) -> NoiseFeeds:
        """The noise for `images` images, as `Translator.generate` describes it. Raises StyleError, BundleError."""
        if isinstance(noise, str):
            return self._from_name(noise)
        if _is_seed(noise):
            draws = _open_stream(_seed(noise))
            return lambda part: draw_noise(self._inputs, draws, len(range(images)[part]))
        if isinstance(noise, list | tuple):
            seeds = [_seed(one) for one in noise if _is_seed(one)]
            are_seeds = bool(seeds) and len(seeds) == len(noise)
            return self._from_seeds(seeds, images) if are_seeds else self._from_arrays(noise, images)
        raise _unknown(noise)

    def _from_name(self, noise: str) -> NoiseFeeds:
        if noise == CONSTANT:
            constants = self._constants
            return lambda part: constants
        if noise == ZERO:
            return zero_noise(self._bundle.manifest)
        raise _unknown(noise)

    def _from_seeds(self, seeds: Sequence[int], images: int) -> NoiseFeeds:
        """One seed per image: each image gets the noise that it would have alone."""
        if len(seeds) != images:
            raise StyleError(f"the noise has {len(seeds)} seeds for {images} images: give one for each image")

        def draw(part: slice) -> NoiseByInput:
            alone = [draw_noise(self._inputs, _open_stream(seed), 1) for seed in seeds[part]]
            return {one.name: np.concatenate([noise[one.name] for noise in alone]) for one in self._inputs}

        return draw

    def _from_arrays(self, noise: Sequence[ArrayLike], images: int) -> NoiseFeeds:
        if len(noise) != len(self._inputs):
            raise StyleError(
                f"the noise has {len(noise)} arrays: give {len(self._inputs)}, one for each layer, in order"
            )
        layers = {
            one.name: _check(array, one, number, images)
            for number, (one, array) in enumerate(zip(self._inputs, noise, strict=True))
        }
        return lambda part: {name: array[part] if len(array) > 1 else array for name, array in layers.items()}

    @cached_property
    def _constants(self) -> NoiseByInput:
        noise = self._bundle.manifest.noise
        if noise is None or noise.constants is None:
            return draw_noise(self._inputs, _open_stream(CONSTANT_SEED), 1)
        shapes = {one.name: (1, 1, one.height, one.width) for one in noise.inputs}
        return dict(read_arrays(self._bundle.file(noise.constants), shapes, "noise"))


def _check(array: ArrayLike, wanted: NoiseInput, number: int, images: int) -> NDArray[np.float32]:
    """One layer's noise as float32 [N or 1, 1, h, w]. Raises StyleError."""
    try:
        values = np.ascontiguousarray(array, np.float32)
    except (TypeError, ValueError) as error:
        raise StyleError(f"the noise of layer {number} is not an array of numbers ({error})") from error
    sides = 1, wanted.height, wanted.width
    if values.shape not in ((1, *sides), (images, *sides)):
        raise StyleError(
            f"the noise of layer {number} has the shape {list(np.shape(array))}: give {[1, *sides]} for all images, or "
            f"{[images, *sides]} for one each"
        )
    if not np.isfinite(values).all():
        raise StyleError(f"the noise of layer {number} holds numbers that are not finite: replace infinity and NaN")
    return values


def _is_seed(noise: object) -> bool:
    return isinstance(noise, int | np.integer) and not isinstance(noise, bool)


def _seed(noise: Any) -> int:
    """A seed. Raises StyleError if it is out of range."""
    if not 0 <= noise <= LARGEST_SEED:
        raise StyleError(f"the seed of the noise is {noise}: give a whole number from 0 to {LARGEST_SEED}")
    return int(noise)


def _open_stream(seed: int) -> np.random.RandomState:
    return np.random.RandomState([seed, _STREAM])


def _unknown(noise: object) -> StyleError:
    return StyleError(f"the noise is {noise!r:.100}: give {CONSTANT}, {ZERO}, a seed, or a list of seeds or arrays")
