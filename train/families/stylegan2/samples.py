"""StyleGAN2's sample grids: the same latents at every step, for each strength and mixing probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from starcast.train.data.folders import DataSet
from starcast.train.families.stylegan2.images import as_rgb
from starcast.train.families.stylegan2.networks import (
    MEAN_SEED,
    MappingNetwork,
    Networks,
    mean_of_styles,
    mix_styles,
    truncate,
)
from starcast.train.families.stylegan2.options import StyleGAN2Options
from starcast.train.randomness import draws
from starcast.train.samples import image_grid


@dataclass(frozen=True)
class SampleInputs:
    """Latents (N, L) of each kind; where each image's styles are mixed (N,), and for which probabilities they are.

    An image is mixed if its `chance` (N,) is below the probability. `mean_latents` (M, L) are those whose styles are
    averaged for the mean, or None where the networks keep a running mean.
    """

    latent: Tensor
    latent2: Tensor
    cutoff: Tensor
    chance: Tensor
    mean_latents: Tensor | None
    psi: tuple[float, ...]
    mixing: tuple[float, ...]
    columns: int

    def to(self, device: torch.device) -> SampleInputs:
        """A copy on a device."""
        mean_latents = None if self.mean_latents is None else self.mean_latents.to(device)
        return SampleInputs(
            self.latent.to(device), self.latent2.to(device), self.cutoff.to(device), self.chance.to(device),
            mean_latents, self.psi, self.mixing, self.columns,
        )  # fmt: skip


def sample_inputs(_data_set: DataSet, options: StyleGAN2Options) -> SampleInputs:
    """The latents of the run's grids, drawn from its seed."""
    output, network, seed = options.output, options.network, options.course.seed
    shape, layers = (output.sample_images, network.latent_dim), 2 * len(network.sizes)
    latent, latent2 = (
        torch.from_numpy(draws(seed, 0, 0, purpose).standard_normal(shape, np.float32))
        for purpose in ("sample latents", "second sample latents")
    )
    mixing = draws(seed, 0, 0, "sample mixing")
    samples = network.mean_style == "samples"
    return SampleInputs(
        latent=latent,
        latent2=latent2,
        cutoff=torch.from_numpy(mixing.integers(1, layers, size=shape[0])),
        chance=torch.from_numpy(mixing.random(shape[0])),
        mean_latents=mean_latents(network.mean_samples, network.latent_dim) if samples else None,
        psi=output.sample_psi,
        mixing=output.sample_mixing,
        columns=-(-shape[0] // min(output.sample_rows, shape[0])),
    )


def mean_latents(count: int, latent_dim: int) -> Tensor:
    """The latents whose styles are averaged for a mean style, always the same."""
    return torch.from_numpy(np.random.RandomState(MEAN_SEED).standard_normal((count, latent_dim)).astype(np.float32))


def grids(networks: Networks, averaged: Networks, inputs: SampleInputs) -> dict[str, Tensor]:
    """Grids of the averaged networks and of the current ones, for each strength and mixing probability, by kind."""
    pictured = {"average": averaged, "current": networks}
    return {
        f"{name}-psi{psi:g}" + (f"-mixing{probability:g}" if len(inputs.mixing) > 1 or probability else ""): grid(
            which, inputs, psi, probability
        )
        for name, which in pictured.items()
        for psi in inputs.psi
        for probability in inputs.mixing
    }


@torch.inference_mode()
def grid(networks: Networks, inputs: SampleInputs, psi: float, probability: float) -> Tensor:
    """Images of the inputs' latents with the stored noise. uint8 (3, H, W)."""
    mapping, layers = networks.mapping_network, 2 * len(networks.generator.to_image)
    mean = mean_style(mapping, inputs.mean_latents)
    style, style2 = (truncate(mapping(latent), mean, psi) for latent in (inputs.latent, inputs.latent2))
    cutoff = torch.where(inputs.chance < probability, inputs.cutoff, layers)
    images = as_rgb(networks.generator(mix_styles(style, style2, cutoff, layers)))
    blanks = images.new_ones(-len(images) % inputs.columns, *images.shape[1:])
    return image_grid(list(torch.split(torch.cat([images, blanks]), inputs.columns)))


def mean_style(mapping: MappingNetwork, latents: Tensor | None) -> Tensor:
    """The mean style (L,): the running one, or that of these latents."""
    return mapping.mean if latents is None else mean_of_styles(mapping, latents)
