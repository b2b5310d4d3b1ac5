"""StyleGAN2's networks as they are traced: built from PyTorch's own layers, with every constant folded in.

mapping    latent float32 [batch, L] -> style float32 [batch, L]
generator  style float32 [batch, layers, L], noise float32 [batch or 1, 1, h, w] of each layer -> image

The trained networks multiply their weights by constants while they run, and compute every filter from its taps. Here
the weights hold the products, so that a graph stores them once, under the names of their layers. A filter becomes two
depthwise convolutions, and its border of zeros is their padding where both sides have the same.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from starcast.train.families.stylegan2.layers import (
    EPS,
    SLOPE,
    BilinearEnlarge,
    BilinearUpConv,
    Filter,
    Linear,
    ModulatedConv,
    TransposedUpConv,
    ZeroEnlarge,
    equalized,
    normalize,
)
from starcast.train.families.stylegan2.networks import Generator, MappingNetwork, StyledConv, ToImage


class LatentNetwork(nn.Module):
    """The mapping network: latent (N, L) -> style (N, L)."""

    def __init__(self, network: MappingNetwork):
        super().__init__()
        self.linears = nn.ModuleList(_linear(layer) for layer in network.linears)  # type: ignore[arg-type]

    def forward(self, latent: Tensor) -> Tensor:
        x = normalize(latent)
        for linear in self.linears:
            x = _activate(linear(x))
        return x


class FrameGenerator(nn.Module):
    """The generator: styles (N, layers, L), the noise of each layer (N or 1, 1, h, w) -> image (N, channels, S, S)."""

    def __init__(self, network: Generator):
        super().__init__()
        to_image = [layer for layer in network.to_image if isinstance(layer, ToImage)]
        colours = len(to_image[0].bias)
        self.start = network.start
        self.first = _Styled(network.first)
        self.ups = nn.ModuleList(_Styled(layer) for layer in network.ups)  # type: ignore[arg-type]
        self.convs = nn.ModuleList(_Styled(layer) for layer in network.convs)  # type: ignore[arg-type]
        self.to_image = nn.ModuleList(map(_ToImage, to_image))
        self.enlarge = nn.ModuleList(_enlarge(network.enlarge, colours) for _ in to_image[1:])
        self.tanh = network.tanh

    def forward(self, style: Tensor, *noise: Tensor) -> Tensor:
        x = self.first(self.start, style[:, 0], noise[0])
        image: Tensor = self.to_image[0](x, style[:, 1])
        for number, (up, conv) in enumerate(zip(self.ups, self.convs, strict=True), start=1):
            x = up(x, style[:, 2 * number - 1], noise[2 * number - 1])
            x = conv(x, style[:, 2 * number], noise[2 * number])
            enlarged = self.enlarge[number - 1](image)
            image = enlarged + self.to_image[number](x, style[:, 2 * number + 1])
        return torch.tanh(image) if self.tanh else image


class _Styled(nn.Module):
    """A modulated convolution, noise, bias and activation."""

    def __init__(self, layer: StyledConv):
        super().__init__()
        self.affine = _linear(layer.conv.affine)
        self.conv = _convolution(layer.conv)
        self.squares = _squares(layer.conv)
        self.noise_strength, self.bias = layer.noise_strength, layer.bias

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        scale = self.affine(style)
        norm = torch.rsqrt(self.squares(scale.square()))
        x = self.conv(x * scale[:, :, None, None]) * norm[:, :, None, None]
        return _activate(x + (self.noise_strength * noise + self.bias[:, None, None]))


class _ToImage(nn.Module):
    """Features -> colours."""

    def __init__(self, layer: ToImage):
        super().__init__()
        self.affine = _linear(layer.conv.affine)
        self.conv = _convolution(layer.conv)
        self.conv.bias = nn.Parameter(layer.bias.detach())

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        colours: Tensor = self.conv(x * self.affine(style)[:, :, None, None])
        return colours


class _Filter(nn.Module):
    """A filter over every one of `channels` channels: across, then down."""

    def __init__(self, filter: Filter, channels: int):
        super().__init__()
        before, after = filter.padding[:2]
        self.border = (before, after, before, after) if before != after else None
        pad, taps = (before if before == after else 0), len(filter.values)
        self.across = nn.Conv2d(channels, channels, (1, taps), padding=(0, pad), groups=channels, bias=False)
        self.down = nn.Conv2d(channels, channels, (taps, 1), padding=(pad, 0), groups=channels, bias=False)
        values = torch.tensor(filter.values)
        self.across.weight = nn.Parameter(values.view(1, 1, 1, -1).repeat(channels, 1, 1, 1))
        self.down.weight = nn.Parameter(values.view(1, 1, -1, 1).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.border is None else F.pad(x, self.border)
        smoothed: Tensor = self.down(self.across(x))
        return smoothed


class _TransposedConv(nn.Module):
    """A transposed convolution with stride 2, then the filter."""

    def __init__(self, layer: TransposedUpConv):
        super().__init__()
        weight = equalized(layer.weight.detach()).transpose(0, 1).contiguous()
        channels_in, channels_out = weight.shape[:2]
        self.spread = nn.ConvTranspose2d(channels_in, channels_out, 3, stride=2, bias=False)
        self.spread.weight = nn.Parameter(weight)
        self.smooth = _Filter(layer.smooth, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        smoothed: Tensor = self.smooth(self.spread(x))
        return smoothed


class _InterpolatedConv(nn.Module):
    """Interpolation, then the filter, then a convolution."""

    def __init__(self, layer: BilinearUpConv):
        super().__init__()
        self.enlarge = _BilinearEnlarge(layer.enlarge, layer.weight.shape[1])
        self.conv = _plain_convolution(layer)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.conv(self.enlarge(x))
        return made


class _BilinearEnlarge(nn.Module):
    """Doubles an image: bilinear interpolation, then the filter."""

    def __init__(self, layer: BilinearEnlarge, channels: int):
        super().__init__()
        self.smooth = _Filter(layer.smooth, channels)

    def forward(self, x: Tensor) -> Tensor:
        smoothed: Tensor = self.smooth(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
        return smoothed


class _ZeroEnlarge(nn.Module):
    """Doubles an image: a transposed convolution of one tap puts a zero after every pixel, then the filter."""

    def __init__(self, layer: ZeroEnlarge, channels: int):
        super().__init__()
        self.spread = nn.ConvTranspose2d(channels, channels, 1, stride=2, output_padding=1, groups=channels, bias=False)
        self.spread.weight = nn.Parameter(torch.ones(channels, 1, 1, 1))
        self.smooth = _Filter(layer.smooth, channels)

    def forward(self, x: Tensor) -> Tensor:
        smoothed: Tensor = self.smooth(self.spread(x))
        return smoothed


def _enlarge(layer: nn.Module, channels: int) -> nn.Module:
    if isinstance(layer, ZeroEnlarge):
        return _ZeroEnlarge(layer, channels)
    assert isinstance(layer, BilinearEnlarge)
    return _BilinearEnlarge(layer, channels)


def _convolution(layer: ModulatedConv) -> nn.Module:
    if isinstance(layer, TransposedUpConv):
        return _TransposedConv(layer)
    return _InterpolatedConv(layer) if isinstance(layer, BilinearUpConv) else _plain_convolution(layer)


def _plain_convolution(layer: ModulatedConv) -> nn.Conv2d:
    weight = equalized(layer.weight.detach())
    channels_out, channels_in, side = weight.shape[:3]
    conv = nn.Conv2d(channels_in, channels_out, side, padding=side // 2, bias=False)
    conv.weight = nn.Parameter(weight)
    return conv


def _squares(layer: ModulatedConv) -> nn.Linear:
    """The squares of the input's scales (N, in) -> the squared norms of the scaled weights (N, out)."""
    weight = equalized(layer.weight.detach())
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight = nn.Parameter(weight.square().sum((2, 3)))
    linear.bias = nn.Parameter(torch.full((weight.shape[0],), EPS))
    return linear


def _linear(layer: Linear) -> nn.Linear:
    weight = layer.weight.detach() * (layer.rate / math.sqrt(layer.weight.shape[1]))
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight, linear.bias = nn.Parameter(weight), nn.Parameter(layer.bias.detach() * layer.rate)
    return linear


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE) * math.sqrt(2)
