"""StyleGAN2 as export sees it: images from latents and noise, with a style for each layer, and no source.

mapping  latent float32 [batch, L] -> style float32 [batch, L]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from starcast.export.families.model import About, Floats, Licence, Model, StyleGraph
from starcast.export.families.stylegan2_graph import FrameGenerator, LatentNetwork
from starcast.runtime.manifest import Condition, LatentMaker
from starcast.runtime.styles import draw_latents
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.checkpoint.file import averaged_networks
from starcast.train.families.stylegan2.networks import (
    Generator,
    Networks,
    StyleGAN2Config,
    mean_of_styles,
    mix_styles,
    truncate,
)
from starcast.train.families.stylegan2.samples import mean_latents

MAPPING, MEANS = "mapping.onnx", "styles.npz"
PREVIEW_SEED, PREVIEW_IMAGES, PREVIEW_PSI = 0, 8, 0.7


class StyleGAN2(Model):
    """Averaged networks of StyleGAN2."""

    family = "stylegan2"
    about = About(
        title="A StyleGAN2 (Karras et al. 2020)",
        tags=("stylegan2",),
        styles="A style is made from a random vector, the latent; each layer may have a style of its own.",
        official_licence=Licence(
            "other",
            "The checkpoint has the layout of another program, rosinality's or lukau2357's StyleGAN2, or was trained "
            "from one that does. Weights that were converted from NVIDIA's are under NVIDIA's licence, for "
            "non-commercial use only. For other weights, whoever trained them decides on the licence, within what the "
            "licence of the training images allows.",
        ),
    )
    stride = None

    def __init__(self, networks: Networks, config: StyleGAN2Config) -> None:
        self.networks, self.config, self.domains = networks, config, ()
        self.side, self.channels = config.image_size, config.channels
        self.style_size, self.layers = config.latent_dim, config.layers
        self.noise = {f"noise_{number}": noise.numpy() for number, noise in enumerate(networks.generator.stored_noise)}

    @cached_property
    def generator(self) -> nn.Module:
        return FrameGenerator(self.networks.generator)

    @property
    def reference(self) -> nn.Module:
        return TrainedGenerator(self.networks.generator)

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.networks.generator.parameters())

    @property
    def facts(self) -> Mapping[str, str]:
        return {"latent_dim": str(self.config.latent_dim), "resampling": self.config.resampling}

    def condition(self, mean_draws: int | None) -> Condition:
        return Condition(
            size=self.style_size,
            layers=self.layers,
            latent=LatentMaker(graph=MAPPING, size=self.config.latent_dim),
            means=MEANS,
            mean_draws=self._mean_draws(mean_draws),
        )

    def style_graphs(self) -> Sequence[StyleGraph]:
        mapping, length = self.networks.mapping_network, self.config.latent_dim
        example = {"latent": torch.zeros(2, length)}
        return [StyleGraph(MAPPING, LatentNetwork(mapping), example, mapping, {"latent": draw_latents(5, 9, length)})]

    def gate_styles(self, count: int) -> Floats:
        """Styles that are, in turn, unchanged, truncated, and mixed from a layer that differs each time."""
        one, other = (self._styles(draw_latents(seed, count, self.style_size)) for seed in (7, 8))
        number = torch.arange(count)
        one = torch.where((number % 3 == 1)[:, None], truncate(one, self._mean, PREVIEW_PSI), one)
        cutoff = torch.where(number % 3 == 2, 1 + number % (self.config.layers - 1), self.config.layers)
        mixed: Floats = mix_styles(one, other, cutoff, self.config.layers).numpy()
        return mixed

    def draw_style(self, domain: int, draws: np.random.RandomState) -> Floats:
        """A style, truncated half the time."""
        style = self._styles(draw_latents(draws, 1, self.style_size))
        return self._by_layer(truncate(style, self._mean, PREVIEW_PSI) if draws.randint(2) else style)

    def preview_styles(self) -> Floats:
        styles = self._styles(draw_latents(PREVIEW_SEED, PREVIEW_IMAGES, self.style_size))
        return self._by_layer(truncate(styles, self._mean, PREVIEW_PSI))

    def mean_styles(self, draws: int | None) -> Floats:
        mapping, count = self.networks.mapping_network, self._mean_draws(draws)
        mean = mapping.mean if count is None else mean_of_styles(mapping, mean_latents(count, self.config.latent_dim))
        means: Floats = mean[None].numpy()
        return means

    def _mean_draws(self, asked: int | None) -> int | None:
        """How many styles are averaged for the mean; None: the checkpoint's own mean is used."""
        return asked or (self.config.mean_samples if self.config.mean_style == "samples" else None)

    @cached_property
    def _mean(self) -> Tensor:
        return torch.from_numpy(self.mean_styles(None)[0])

    @torch.inference_mode()
    def _styles(self, latents: Floats) -> Tensor:
        styles: Tensor = self.networks.mapping_network(torch.from_numpy(latents))
        return styles

    def _by_layer(self, styles: Tensor) -> Floats:
        by_layer: Floats = styles[:, None].expand(-1, self.config.layers, -1).numpy().copy()
        return by_layer


class TrainedGenerator(nn.Module):
    """The trained generator, with the noise of each layer as an input of its own."""

    def __init__(self, network: Generator):
        super().__init__()
        self.network = network

    def forward(self, styles: Tensor, *noise: Tensor) -> Tensor:
        image: Tensor = self.network(styles, noise)
        return image


def open_stylegan2(checkpoint: Checkpoint, _domains: tuple[str, ...]) -> StyleGAN2:
    """The averaged networks of a checkpoint of this family."""
    return StyleGAN2(averaged_networks(checkpoint), checkpoint.config)
