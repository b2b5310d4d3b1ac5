"""StarGAN v2's sample grids: the same sources, references and latents at every step, so that grids can be compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from starcast.train.data.folders import DataSet
from starcast.train.families.stargan_v2.networks import Networks
from starcast.train.families.stargan_v2.options import StarGANv2Options
from starcast.train.randomness import draws
from starcast.train.samples import image_grid, sample_images

COLUMNS = 8  # sources in a grid
LATENTS = 3  # rows of the latent grid for each domain
MOST_DOMAINS = 6  # in the latent grid: with more it would be too tall to view


@dataclass(frozen=True)
class SampleInputs:
    """sources, references (N, 3, H, W) in -1..1 with their domains (N,); latents (LATENTS, latent_dim)."""

    sources: Tensor
    source_domains: Tensor
    references: Tensor
    reference_domains: Tensor
    latents: Tensor
    domains: int

    def to(self, device: torch.device) -> SampleInputs:
        """A copy on a device."""
        return SampleInputs(
            self.sources.to(device), self.source_domains.to(device), self.references.to(device),
            self.reference_domains.to(device), self.latents.to(device), self.domains,
        )  # fmt: skip


def sample_inputs(data_set: DataSet, options: StarGANv2Options) -> SampleInputs:
    """Images of every domain in turn, held-out ones first; each reference comes from the next domain."""
    count = len(data_set.domains)
    rounds = -(-COLUMNS // count) + 1  # one extra, so that with a single domain the references differ from the sources
    images = [sample_images(domain, rounds, options) for domain in data_set.domains]
    sources = [(column % count, column // count) for column in range(COLUMNS)]
    references = [((domain + 1) % count, number + (count == 1)) for domain, number in sources]
    latents = draws(options.course.seed, 0, 0, "sample latents").standard_normal(
        (LATENTS, options.network.latent_dim), np.float32
    )
    return SampleInputs(
        sources=torch.stack([images[domain][number % len(images[domain])] for domain, number in sources]),
        source_domains=torch.tensor([domain for domain, _ in sources]),
        references=torch.stack([images[domain][number % len(images[domain])] for domain, number in references]),
        reference_domains=torch.tensor([domain for domain, _ in references]),
        latents=torch.from_numpy(latents),
        domains=count,
    )


def grids(_networks: Networks, averaged: Networks, inputs: SampleInputs) -> dict[str, Tensor]:
    """Both sample grids, by kind."""
    return {"reference": reference_grid(averaged, inputs), "latent": latent_grid(averaged, inputs)}


@torch.inference_mode()
def reference_grid(averaged: Networks, inputs: SampleInputs) -> Tensor:
    """Rows: sources, references, translations, and the sources reconstructed from these. uint8 (3, H, W)."""
    style = averaged.style_encoder(inputs.references, inputs.reference_domains)
    masks = averaged.masks(inputs.sources)
    translations = averaged.generator(inputs.sources, style, masks)
    own_style = averaged.style_encoder(inputs.sources, inputs.source_domains)
    reconstructions = averaged.generator(translations, own_style, averaged.masks(translations))
    return image_grid([inputs.sources, inputs.references, translations, reconstructions])


@torch.inference_mode()
def latent_grid(averaged: Networks, inputs: SampleInputs) -> Tensor:
    """First row: sources. Then, for each of the first six domains, a row for each latent. uint8 (3, H, W)."""
    columns = len(inputs.sources)
    masks = averaged.masks(inputs.sources)
    rows = [inputs.sources]
    for domain in range(min(inputs.domains, MOST_DOMAINS)):
        domains = torch.full((columns,), domain, device=inputs.sources.device)
        for latent in inputs.latents:
            style = averaged.mapping_network(latent.expand(columns, -1), domains)
            rows.append(averaged.generator(inputs.sources, style, masks))
    return image_grid(rows)
