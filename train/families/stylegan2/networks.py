"""StyleGAN2 (Karras et al. 2020): mapping network, generator and discriminator.

Images are float (N, channels, S, S) in -1..1, latents and styles (N, L), styles by layer (N, layers, L), logits (N,).
Two published ways of resampling are supported (`resampling`): transposed convolutions as in the paper, and bilinear
interpolation. Their weights have the same shapes, except that the discriminator's bilinear shortcut has a bias.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from starcast.train.allocation import allocate
from starcast.train.families.base import NetworkSet
from starcast.train.families.stylegan2.layers import (
    GAIN,
    SLOPE,
    BatchDeviation,
    BilinearEnlarge,
    BilinearUpConv,
    Conv,
    Filter,
    Linear,
    ModulatedConv,
    TransposedUpConv,
    ZeroEnlarge,
    activate,
    normalize,
    same_size,
)
from starcast.train.families.stylegan2.options import StyleGAN2Network

AVERAGED = ("mapping_network", "generator")
TRAINED = (*AVERAGED, "discriminator", "path_length")
START = 4  # side of the generator's constant input
MEAN_BATCH = 4096  # latents in one pass
NOISE_SEED = 0  # of the constant noise in files that store none
MEAN_SEED = 0  # of the latents whose styles are averaged
DOMAIN_NAMES = ("images",)  # there are no domains: all images are of one kind


@dataclass(frozen=True, kw_only=True)
class StyleGAN2Config(StyleGAN2Network):
    """What decides the shapes of the networks."""

    family: ClassVar[str] = "stylegan2"
    domains: ClassVar[int] = 1

    @property
    def stride(self) -> None:
        """There is no source: images have one size only."""
        return

    @property
    def layers(self) -> int:
        """Number of styles that one image takes."""
        return 2 * len(self.sizes)

    @property
    def noise_sides(self) -> list[int]:
        """Side of the noise of each layer: 4, 8, 8, 16, 16 …"""
        return [START, *(side for side in self.sizes if side > START for _ in range(2))]


class MappingNetwork(nn.Module):
    """latent (N, L) -> style (N, L). `mean` is the running mean of the styles of the training."""

    mean: Tensor

    def __init__(self, config: StyleGAN2Config):
        super().__init__()
        size = config.latent_dim
        self.linears = nn.ModuleList(Linear(size, size, rate=config.mapping_rate) for _ in range(config.mapping_depth))
        self.register_buffer("mean", torch.empty(size))

    def forward(self, latent: Tensor) -> Tensor:
        x = normalize(latent)
        for linear in self.linears:
            x = activate(linear(x))
        return x


class StyledConv(nn.Module):
    """A modulated convolution, noise, bias and activation: (N, in, H, W) -> (N, out, H', W')."""

    def __init__(self, conv: ModulatedConv):
        super().__init__()
        self.conv = conv
        self.bias = nn.Parameter(torch.empty(conv.weight.shape[0]))
        self.noise_strength = nn.Parameter(torch.empty(()))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        # A leaky ReLU commutes with a positive factor: the gain is in the small factors before it, and costs no pass
        # over the features.
        x = self.conv(x, style, GAIN)
        shift = GAIN * self.noise_strength * noise + GAIN * self.bias[:, None, None]
        return F.leaky_relu(x + shift.to(x.dtype), SLOPE)


class ToImage(nn.Module):
    """Features -> an image's colours, by a modulated 1x1 convolution without demodulation."""

    def __init__(self, config: StyleGAN2Config, channels_in: int):
        super().__init__()
        self.conv = ModulatedConv(config.latent_dim, channels_in, config.channels, 1, demodulate=False)
        self.bias = nn.Parameter(torch.empty(config.channels))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        colours: Tensor = self.conv(x, style) + self.bias.to(x.dtype)[:, None, None]
        return colours


class Generator(nn.Module):
    """styles (N, layers, L) -> image (N, channels, S, S), not bounded to -1..1 unless the config has `tanh`.

    `noise` has a tensor (N or 1, 1, h, w) for each layer that takes noise; without it the stored one is used. The first
    layer takes style 0, its image style 1; the layers of the next size take styles 1 and 2, their image style 3; and so
    on.
    """

    def __init__(self, config: StyleGAN2Config):
        super().__init__()
        up, enlarge = (
            (TransposedUpConv, ZeroEnlarge) if config.resampling == "transposed" else (BilinearUpConv, BilinearEnlarge)
        )
        sizes, length, taps = config.sizes, config.latent_dim, config.fir_filter
        self.start = nn.Parameter(torch.empty(1, sizes[START], START, START))
        self.first = StyledConv(ModulatedConv(length, sizes[START], sizes[START], 3))
        self.ups = nn.ModuleList(
            StyledConv(up(length, before, after, taps)) for before, after in itertools.pairwise(sizes.values())
        )
        self.convs = nn.ModuleList(
            StyledConv(ModulatedConv(length, width, width, 3)) for side, width in sizes.items() if side > START
        )
        self.to_image = nn.ModuleList(ToImage(config, width) for width in sizes.values())
        self.enlarge = enlarge(taps)
        self.tanh = config.tanh
        for number, side in enumerate(config.noise_sides):
            self.register_buffer(f"noise_{number}", torch.empty(1, 1, side, side))

    @property
    def stored_noise(self) -> list[Tensor]:
        """The constant noise (1, 1, h, w) of each layer."""
        return [getattr(self, f"noise_{number}") for number in range(1 + len(self.ups) + len(self.convs))]

    def forward(self, styles: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        noise = self.stored_noise if noise is None else noise
        style = styles.unbind(1)
        x = self.first(self.start.expand(styles.shape[0], -1, -1, -1), style[0], noise[0])
        image: Tensor = self.to_image[0](x, style[1])
        for number, (up, conv) in enumerate(zip(self.ups, self.convs, strict=True), start=1):
            x = up(x, style[2 * number - 1], noise[2 * number - 1])
            x = conv(x, style[2 * number], noise[2 * number])
            image = self.enlarge(image) + self.to_image[number](x, style[2 * number + 1])
        return torch.tanh(image) if self.tanh else image


class TransposedDown(nn.Module):
    """A discriminator block of the paper: it halves the image by convolutions of stride 2, filtered first."""

    def __init__(self, channels_in: int, channels_out: int, taps: Sequence[float]):
        super().__init__()
        spare = len(taps) - 2
        self.conv1 = Conv(channels_in, channels_in, 3, padding=1)
        self.smooth = Filter(taps, (spare + 2 + 1) // 2, (spare + 2) // 2)
        self.conv2 = Conv(channels_in, channels_out, 3, stride=2)
        self.halve = Filter(taps, (spare + 1) // 2, spare // 2, stride=2)
        self.skip = Conv(channels_in, channels_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        main = activate(self.conv2(self.smooth(activate(self.conv1(x)))))
        summed: Tensor = main + self.skip(self.halve(x))
        return summed / math.sqrt(2)


class BilinearDown(nn.Module):
    """A discriminator block whose shortcut interpolates; its main path is filtered and has stride 2."""

    def __init__(self, channels_in: int, channels_out: int, taps: Sequence[float]):
        super().__init__()
        self.conv1 = Conv(channels_in, channels_in, 3, padding=1)
        self.smooth = same_size(taps)
        self.conv2 = Conv(channels_in, channels_out, 3, stride=2, padding=1)
        self.skip = Conv(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        main = activate(self.conv2(self.smooth(activate(self.conv1(x)))))
        summed: Tensor = main + self.skip(F.avg_pool2d(self.smooth(x), 2))  # bilinear by 1/2 is the mean of 2x2
        return summed / math.sqrt(2)


class Discriminator(nn.Module):
    """image (N, channels, S, S) -> logits (N,): above 0 if it looks real. The images of a batch are compared."""

    def __init__(self, config: StyleGAN2Config):
        super().__init__()
        widths = list(reversed(config.discriminator_sizes.values()))
        last, added = widths[-1], config.deviation_channels
        down = TransposedDown if config.resampling == "transposed" else BilinearDown
        self.from_image = Conv(config.channels, widths[0], 1)
        self.blocks = nn.ModuleList(
            down(before, after, config.fir_filter) for before, after in itertools.pairwise(widths)
        )
        self.deviation = BatchDeviation(config.deviation_group, added) if added else nn.Identity()
        self.conv = Conv(last + added, last, 3, padding=1)
        self.linear = Linear(last * START * START, last)
        self.judge = Linear(last, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = activate(self.from_image(image))
        for block in self.blocks:
            x = block(x)
        x = activate(self.conv(self.deviation(x)))
        x = activate(self.linear(x.flatten(1)))
        logits: Tensor = self.judge(x)
        return logits[:, 0]


class PathLength(nn.Module):
    """The running mean of the path lengths: a network without parameters, so that checkpoints hold it."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.empty(()))


@dataclass
class Networks(NetworkSet):
    """The networks of one model. An averaged set has no discriminator and no path length."""

    mapping_network: MappingNetwork
    generator: Generator
    discriminator: Discriminator | None = None
    path_length: PathLength | None = None


def build_networks(config: StyleGAN2Config, seed: int) -> Networks:
    """The training networks, initialised from the seed alone: weights normal, biases 0, style scales 1, noise off."""
    networks = empty_networks(config, training=True)
    draws = torch.Generator().manual_seed(seed)
    for _, network in networks.items():
        for module in network.modules():
            if isinstance(module, Linear | Conv | ModulatedConv):
                module.weight.data.normal_(std=1 / getattr(module, "rate", 1), generator=draws)
            if isinstance(module, Linear | Conv | StyledConv | ToImage) and module.bias is not None:
                module.bias.data.zero_()
            if isinstance(module, StyledConv):
                module.noise_strength.data.zero_()
        for module in network.modules():
            if isinstance(module, ModulatedConv):
                module.affine.bias.data.fill_(1)
    networks.generator.start.data.normal_(generator=draws)
    for noise in networks.generator.stored_noise:
        noise.normal_(generator=draws)
    networks.mapping_network.mean.zero_()
    if networks.path_length is not None:
        networks.path_length.mean.zero_()
    return networks


def empty_networks(config: StyleGAN2Config, *, training: bool) -> Networks:
    """Networks of the right shapes on the CPU with uninitialised parameters; fill all of them before use."""
    with torch.device("meta"):
        networks = Networks(
            MappingNetwork(config),
            Generator(config),
            Discriminator(config) if training else None,
            PathLength() if training else None,
        )
    allocate(*(module for _, module in networks.items()))
    return networks


def averaged_copy(networks: Networks) -> Networks:
    """A copy of the networks that are averaged, with equal values and without gradients."""
    return Networks(**{name: copy.deepcopy(getattr(networks, name)) for name in AVERAGED}).eval()


def random_networks(config: StyleGAN2Config, seed: int = 0) -> Networks:
    """Averaged networks with every parameter random, so that a lost bias or noise shows up."""
    networks = averaged_copy(build_networks(config, seed))
    draws = torch.Generator().manual_seed(seed + 1)
    for _, network in networks.items():
        for module in network.modules():
            if isinstance(module, Linear | StyledConv | ToImage):
                module.bias.data += torch.randn(module.bias.shape, generator=draws) * 0.2
            if isinstance(module, StyledConv):
                module.noise_strength.data.normal_(0, 0.3, generator=draws)
    networks.mapping_network.mean.normal_(0, 0.3, generator=draws)
    return networks.eval()


def stored_noise(config: StyleGAN2Config, seed: int = NOISE_SEED) -> list[Tensor]:
    """A constant noise (1, 1, h, w) for each layer, for files that store none."""
    draws = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 1, side, side, generator=draws) for side in config.noise_sides]


def mix_styles(first: Tensor, second: Tensor, cutoff: Tensor, layers: int) -> Tensor:
    """Styles by layer (N, layers, L): the first (N, L) up to each sample's `cutoff` (N,), from there the second."""
    from_first = torch.arange(layers, device=first.device) < cutoff[:, None]
    return torch.where(from_first[:, :, None], first[:, None], second[:, None])


def truncate(style: Tensor, mean: Tensor, psi: float) -> Tensor:
    """Pull styles towards the mean: `psi` 1 keeps them, 0 gives the mean."""
    return mean + psi * (style - mean)


@torch.no_grad()
def mean_of_styles(mapping: MappingNetwork, latents: Tensor) -> Tensor:
    """The mean style (L,) of latents (N, L), summed in float64."""
    parts = torch.split(latents, MEAN_BATCH)
    sums = torch.stack([mapping(part).double().sum(0) for part in parts])
    return (sums.sum(0) / len(latents)).float()
