"""Sample grids: the same sources, references and latents at every step, so that one grid compares with the next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.utils import make_grid

from starcast.atomic import atomic_path
from starcast.errors import ImageError
from starcast.train.data.batches import to_signed
from starcast.train.data.folders import DataSet, Domain
from starcast.train.families.stargan_v2.networks import Networks
from starcast.train.options import TrainOptions
from starcast.train.pictures import read_picture
from starcast.train.randomness import draws

COLUMNS = 8  # sources of a grid
LATENTS = 3  # rows of the latent grid for each domain
MOST_DOMAINS = 6  # in the latent grid: more would be too tall to look at


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
        """The same on a device."""
        return SampleInputs(
            self.sources.to(device), self.source_domains.to(device), self.references.to(device),
            self.reference_domains.to(device), self.latents.to(device), self.domains,
        )  # fmt: skip


def sample_inputs(data_set: DataSet, options: TrainOptions) -> SampleInputs:
    """Held-out images, where there are any, of every domain in turn; each reference is of the next domain."""
    count = len(data_set.domains)
    rounds = -(-COLUMNS // count) + 1  # one more, so that a single domain's references are not its sources
    images = [_drawn(domain, rounds, options) for domain in data_set.domains]
    sources = [(column % count, column // count) for column in range(COLUMNS)]
    references = [((domain + 1) % count, number + (count == 1)) for domain, number in sources]
    latents = draws(options.seed, 0, 0, "sample latents").standard_normal((LATENTS, options.latent_dim), np.float32)
    return SampleInputs(
        sources=torch.stack([images[domain][number % len(images[domain])] for domain, number in sources]),
        source_domains=torch.tensor([domain for domain, _ in sources]),
        references=torch.stack([images[domain][number % len(images[domain])] for domain, number in references]),
        reference_domains=torch.tensor([domain for domain, _ in references]),
        latents=torch.from_numpy(latents),
        domains=count,
    )


def grids(averaged: Networks, inputs: SampleInputs) -> dict[str, Tensor]:
    """Both grids by their kind."""
    return {"reference": reference_grid(averaged, inputs), "latent": latent_grid(averaged, inputs)}


@torch.inference_mode()
def reference_grid(averaged: Networks, inputs: SampleInputs) -> Tensor:
    """Rows: sources, references, translations, reconstructions of the sources from these. uint8 (3, H, W)."""
    style = averaged.style_encoder(inputs.references, inputs.reference_domains)
    translations = averaged.generator(inputs.sources, style)
    own_style = averaged.style_encoder(inputs.sources, inputs.source_domains)
    reconstructions = averaged.generator(translations, own_style)
    return _grid([inputs.sources, inputs.references, translations, reconstructions])


@torch.inference_mode()
def latent_grid(averaged: Networks, inputs: SampleInputs) -> Tensor:
    """First row: sources; then for every domain (the first six) a row for each latent. uint8 (3, H, W)."""
    columns = len(inputs.sources)
    rows = [inputs.sources]
    for domain in range(min(inputs.domains, MOST_DOMAINS)):
        domains = torch.full((columns,), domain, device=inputs.sources.device)
        for latent in inputs.latents:
            style = averaged.mapping_network(latent.expand(columns, -1), domains)
            rows.append(averaged.generator(inputs.sources, style))
    return _grid(rows)


def write_grid(path: Path, pixels: Tensor) -> None:
    """Write a grid, uint8 (3, H, W), as JPEG, atomically."""
    with atomic_path(path) as partial:
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(partial, format="JPEG", quality=95)


def to_pixels(images: Tensor) -> Tensor:
    """-1..1 -> uint8, half rounded up, as the official code saves stills."""
    return ((images.float() + 1) / 2 * 255 + 0.5).clamp(0, 255).floor().to(torch.uint8)


def _grid(rows: list[Tensor]) -> Tensor:
    grid: Tensor = make_grid(to_pixels(torch.cat(rows)).cpu(), nrow=len(rows[0]), padding=2, pad_value=255)
    return grid


def _drawn(domain: Domain, count: int, options: TrainOptions) -> list[Tensor]:
    """Up to so many images as the official test transform makes them: resized, not cropped. Gray where none reads.

    Drawn, not the first ones: neighbours in a folder are often alike, and domains often name the same motif alike.
    """
    resize = v2.Resize((options.image_size, options.image_size), antialias=True)
    order = draws(options.seed, 0, 0, f"sample images of {domain.name}")
    paths = [files[index] for files in (domain.held_out, domain.training) for index in order.permutation(len(files))]
    found: list[Tensor] = []
    for path in paths:
        if len(found) == count:
            break
        try:
            picture = read_picture(path)
        except ImageError:
            continue
        found.append(to_signed(resize(torch.from_numpy(picture).permute(2, 0, 1))))
    return found or [torch.zeros(3, options.image_size, options.image_size)]
