"""What StarGAN v2's networks are made of: norms, residual blocks, and the high-pass filter of face models.

Modules are named as in the official code, so official state_dicts load as they are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from starcast.train.adain import Implementation, adain_leaky_relu

SLOPE = 0.2


class AffineNorm(nn.InstanceNorm2d):
    """Instance norm with its own weights, then leaky ReLU."""

    def __init__(self, channels: int):
        super().__init__(channels, affine=True)
        self.implementation: Implementation = "reference"

    def forward(self, x: Tensor) -> Tensor:
        return adain_leaky_relu(
            x, self.weight, self.bias, eps=self.eps, slope=SLOPE, implementation=self.implementation
        )


class AdaIN(nn.Module):
    """Instance norm with scale and shift from the style, (1 + gamma) * norm(x) + beta, then leaky ReLU."""

    def __init__(self, style_dim: int, channels: int):
        super().__init__()
        self.fc = nn.Linear(style_dim, 2 * channels)
        self.implementation: Implementation = "reference"

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        factors = self.fc(style)[:, :, None, None]
        if factors.dtype == torch.bfloat16:  # too few digits for 1 + gamma if gamma is small
            factors = factors.float()
        gamma, beta = factors.chunk(2, dim=1)
        return adain_leaky_relu(x, 1 + gamma, beta, slope=SLOPE, implementation=self.implementation)


class ResBlk(nn.Module):
    """Pre-activation residual block: (N, in, H, W) -> (N, out, H, W); `downsample` halves H and W."""

    def __init__(self, channels_in: int, channels_out: int, *, normalize: bool = False, downsample: bool = False):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_in, 3, padding=1)
        self.conv2 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm1 = AffineNorm(channels_in) if normalize else nn.LeakyReLU(SLOPE)
        self.norm2 = AffineNorm(channels_in) if normalize else nn.LeakyReLU(SLOPE)
        self.conv1x1 = _shortcut(channels_in, channels_out)
        self.pool = nn.AvgPool2d(2) if downsample else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.pool(self.conv1(self.norm1(x)))
        residual = self.conv2(self.norm2(residual))
        shortcut = self.pool(self.conv1x1(x))
        # The sum of two branches of unit variance has variance 2; this restores 1.
        summed: Tensor = shortcut + residual
        return summed / math.sqrt(2)


class AdainResBlk(nn.Module):
    """Residual block of the decoder: (N, in, H, W) -> (N, out, H, W); `upsample` doubles H and W.

    Without `shortcut` the residual is all there is; the shortcut's convolution then has weights that nothing reads.
    """

    def __init__(
        self, channels_in: int, channels_out: int, style_dim: int, *, upsample: bool = False, shortcut: bool = True
    ):
        super().__init__()
        self.shortcut = shortcut
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.norm1 = AdaIN(style_dim, channels_in)
        self.norm2 = AdaIN(style_dim, channels_out)
        self.conv1x1 = _shortcut(channels_in, channels_out)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest") if upsample else nn.Identity()

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        residual = self.conv1(self.upsample(self.norm1(x, style)))
        residual = self.conv2(self.norm2(residual, style))
        if not self.shortcut:
            bare: Tensor = residual
            return bare
        shortcut = self.conv1x1(self.upsample(x))
        summed: Tensor = residual + shortcut
        return summed / math.sqrt(2)


class HighPass(nn.Module):
    """How a pixel differs from its eight neighbours, channel by channel, divided by `strength`."""

    filter: Tensor  # (3, 3); stored, as in official files

    def __init__(self, strength: float):
        super().__init__()
        self.strength = strength
        self.register_buffer("filter", high_pass_filter(strength))

    def reset_parameters(self) -> None:
        self.filter.copy_(high_pass_filter(self.strength))

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        return F.conv2d(x, self.filter.expand(channels, 1, 3, 3), padding=1, groups=channels)


def high_pass_filter(strength: float) -> Tensor:
    """(3, 3): 8 in the centre and -1 around it, divided by `strength`, so a larger one weakens the detail."""
    kernel = torch.full((3, 3), -1.0)
    kernel[1, 1] = 8.0
    return kernel.div_(strength)


def _shortcut(channels_in: int, channels_out: int) -> nn.Module:
    return nn.Conv2d(channels_in, channels_out, 1, bias=False) if channels_in != channels_out else nn.Identity()
