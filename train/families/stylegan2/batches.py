"""The batch of a StyleGAN2 step: real images for each update of the discriminator, and latents for every update.

Each image comes once in every pass over the folder, each pass in a new order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from starcast.train.data.batch import TensorBatch
from starcast.train.data.batches import StepBatches
from starcast.train.data.folders import DataSet
from starcast.train.families.stylegan2.images import ImagesOfChannels, square_transform
from starcast.train.families.stylegan2.options import StyleGAN2Options


@dataclass(frozen=True)
class Batch(TensorBatch):
    """Images float (D * N, C, S, S) in -1..1 for D updates of the discriminator, N at a time.

    `latent` and `latent2` (D + 2) * N, L are for those updates, then for the generator's, then for path lengths.
    `cutoff` ((D + 2) * N,) is the layer from which the second latent's style is used: one for each update.
    """

    image: Tensor
    latent: Tensor
    latent2: Tensor
    cutoff: Tensor


class ImageBatches(StepBatches):
    """The batch of every step, with uint8 images."""

    def __init__(self, data_set: DataSet, options: StyleGAN2Options, *, workers: int = 0, rank: int = 0) -> None:
        super().__init__(data_set, options, workers=workers, rank=rank)
        self.places = ["the folder"]
        network = options.network
        self.layers, self.latent_dim = 2 * len(network.sizes), network.latent_dim
        self.style_mixing, self.d_steps = options.loss.style_mixing, options.course.d_steps
        self.decoded = ImagesOfChannels(options.data.cache_mb * 2**20 // max(1, workers), network.channels)
        self.transform = square_transform(network.image_size, options.data.square, flip=options.data.flip)

    def draw(self, step: int) -> Batch:
        count = self.d_steps * self.batch_size
        picks = self.next_in_turn(step, "images", len(self.images[0]), count)
        updates = self.d_steps + 2
        return Batch(
            image=self.load(step, "image", np.zeros(count, np.int64), picks, picks),
            latent=self._latents(step, "latent", updates),
            latent2=self._latents(step, "second latent", updates),
            cutoff=torch.from_numpy(np.repeat(self._cutoffs(step, updates), self.batch_size)),
        )

    def _latents(self, step: int, purpose: str, updates: int) -> Tensor:
        shape = (updates * self.batch_size, self.latent_dim)
        return torch.from_numpy(self.draws(step, purpose).standard_normal(shape, dtype=np.float32))

    def _cutoffs(self, step: int, updates: int) -> NDArray[np.int64]:
        """Where each update mixes styles: somewhere after the first layer, or behind the last one, which is nowhere."""
        draws = self.draws(step, "style mixing")
        mixes, cutoffs = draws.random(updates) < self.style_mixing, draws.integers(1, self.layers, size=updates)
        return np.where(mixes, cutoffs, self.layers)
