"""The batch of a StarGAN v2 step: sources, pairs of references from their target domains, and latents.

Sources and references are both balanced by domain. A reference pair is two different images of one domain, drawn at
every step.
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
from starcast.train.families.stargan_v2.options import StarGANv2Options


@dataclass(frozen=True)
class Batch(TensorBatch):
    """Images float (N, 3, H, W) in -1..1, domains int64 (N,), latents (N, latent_dim).

    `reference` and `reference2` are images of `domain`, the domain that the sources are translated to.
    """

    source: Tensor
    source_domain: Tensor
    reference: Tensor
    reference2: Tensor
    domain: Tensor
    latent: Tensor
    latent2: Tensor


class ReferenceBatches(StepBatches):
    """The batch of every step, with uint8 images."""

    def __init__(self, data_set: DataSet, options: StarGANv2Options, *, workers: int = 0, rank: int = 0) -> None:
        super().__init__(data_set, options, workers=workers, rank=rank)
        self.latent_dim = options.network.latent_dim

    def draw(self, step: int) -> Batch:
        source_domain = self.draw_domains(step, "source domain")
        domain = self.draw_domains(step, "reference domain")
        source = self.draw_images(step, "source", source_domain)
        reference, reference2 = self._pairs(step, domain)
        return Batch(
            source=self.load(step, "source", source_domain, source, source),
            source_domain=torch.from_numpy(source_domain),
            reference=self.load(step, "reference", domain, reference, reference2),
            reference2=self.load(step, "second reference", domain, reference2, reference),
            domain=torch.from_numpy(domain),
            latent=self._latents(step, "latent"),
            latent2=self._latents(step, "second latent"),
        )

    def _pairs(self, step: int, domains: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Two different images of each domain; the same one twice if a domain has only one."""
        counts = self.counts(domains)
        first = self.draw_images(step, "reference", domains)
        further = self.draws(step, "second reference").integers(np.maximum(counts - 1, 1))
        return first, (first + 1 + further) % counts

    def _latents(self, step: int, purpose: str) -> Tensor:
        shape = (self.batch_size, self.latent_dim)
        return torch.from_numpy(self.draws(step, purpose).standard_normal(shape, dtype=np.float32))
