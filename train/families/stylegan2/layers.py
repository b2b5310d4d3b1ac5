"""The layers of StyleGAN2: equalised learning rates, modulated convolutions, separable filters and batch statistics.

Equalised: a stored weight starts with unit variance and is multiplied by 1 / sqrt(fan in) where it is used. So Adam
moves every layer at the same relative rate (Karras et al. 2018, section 4.1). A modulated convolution scales its input
by the style and its output by the demodulation. This equals scaled weights (Karras et al. 2020, eq. 1 and 3) but leaves
the weights the same for every image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2
GAIN = math.sqrt(2)  # keeps the variance
EPS = 1e-8


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU, and the gain."""
    return F.leaky_relu(x, SLOPE) * GAIN


def normalize(latent: Tensor) -> Tensor:
    """Each latent (N, L) divided by its root mean square."""
    return latent * torch.rsqrt(latent.square().mean(1, keepdim=True) + EPS)


class Linear(nn.Module):
    """An equalised linear layer: (N, in) -> (N, out). `rate` multiplies its learning rate."""

    def __init__(self, size_in: int, size_out: int, *, rate: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size_out, size_in))
        self.bias = nn.Parameter(torch.empty(size_out))
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * (self.rate / math.sqrt(self.weight.shape[1])), self.bias * self.rate)


class Conv(nn.Module):
    """An equalised convolution without activation: (N, in, H, W) -> (N, out, H', W')."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, padding: int = 0, bias: bool = True
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(channels_out)) if bias else None
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, equalized(self.weight), self.bias, stride=self.stride, padding=self.padding)


def equalized(weight: Tensor) -> Tensor:
    """A convolution's stored weight as it is used."""
    return weight / math.sqrt(weight[0].numel())


class Filter(nn.Module):
    """A separable low-pass filter over every channel: (N, C, H, W) -> (N, C, H', W').

    `taps` are normalised to a sum of `gain`, both across and down. The image is padded with zeros, by `before` at the
    left and the top and by `after` at the right and the bottom. With a `stride`, only every second row and column of
    the result is computed. One square kernel: in PyTorch that is faster than two passes, one across and one down.
    """

    def __init__(self, taps: Sequence[float], before: int, after: int, *, gain: float = 1.0, stride: int = 1):
        super().__init__()
        values = [gain * tap / sum(taps) for tap in taps]
        self.values, self.padding, self.stride = values, (before, after, before, after), stride

    def forward(self, x: Tensor) -> Tensor:
        channels, taps = x.shape[1], x.new_tensor(self.values)
        kernel = (taps[:, None] * taps).expand(channels, 1, -1, -1)
        return F.conv2d(F.pad(x, self.padding), kernel, stride=self.stride, groups=channels)


class ModulatedConv(nn.Module):
    """A convolution (N, in, H, W) whose input channels a style (N, L) scales -> (N, out, H, W).

    `demodulate` divides every output channel by the norm of its scaled weights.
    """

    def __init__(self, latent_dim: int, channels_in: int, channels_out: int, kernel: int, *, demodulate: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in, kernel, kernel))
        self.affine = Linear(latent_dim, channels_in)
        self.demodulate = demodulate

    def forward(self, x: Tensor, style: Tensor, gain: float = 1.0) -> Tensor:
        """`gain` multiplies the result of a demodulated convolution."""
        scale, weight = self.affine(style), equalized(self.weight)
        x = self.convolve(x * scale.to(x.dtype)[:, :, None, None], weight)
        if self.demodulate:
            x = x * (norms(scale, weight) * gain).to(x.dtype)[:, :, None, None]
        return x

    def convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        """The convolution itself; subclasses change the size."""
        return F.conv2d(x, weight, padding=weight.shape[2] // 2)


def norms(scale: Tensor, weight: Tensor) -> Tensor:
    """What each output channel (N, out) of a weight is multiplied by, if its input channels are scaled by (N, in). At
    least in float32."""
    with torch.autocast(scale.device.type, enabled=False):
        squares = weight.square().sum((2, 3))
        return torch.rsqrt(F.linear(scale.to(weight.dtype).square(), squares) + EPS)


class TransposedUpConv(ModulatedConv):
    """A modulated convolution that doubles the size: transposed with stride 2, then filtered."""

    def __init__(self, latent_dim: int, channels_in: int, channels_out: int, taps: Sequence[float]):
        super().__init__(latent_dim, channels_in, channels_out, 3)
        spare = len(taps) - 4  # taps beyond the four that suit a kernel of 3 and a factor of 2
        self.smooth = Filter(taps, (spare + 1) // 2 + 1, spare // 2 + 1, gain=2)

    def convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        smoothed: Tensor = self.smooth(x)
        return smoothed


class BilinearUpConv(ModulatedConv):
    """A modulated convolution that doubles the size: interpolated, filtered, then convolved."""

    def __init__(self, latent_dim: int, channels_in: int, channels_out: int, taps: Sequence[float]):
        super().__init__(latent_dim, channels_in, channels_out, 3)
        self.enlarge = BilinearEnlarge(taps)

    def convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(self.enlarge(x), weight, padding=1)


class BilinearEnlarge(nn.Module):
    """Doubles an image: bilinear interpolation, then the filter."""

    def __init__(self, taps: Sequence[float]):
        super().__init__()
        self.smooth = same_size(taps)

    def forward(self, x: Tensor) -> Tensor:
        smoothed: Tensor = self.smooth(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
        return smoothed


class ZeroEnlarge(nn.Module):
    """Doubles an image: a zero after every pixel, then the filter."""

    def __init__(self, taps: Sequence[float]):
        super().__init__()
        spare = len(taps) - 2
        self.smooth = Filter(taps, (spare + 1) // 2 + 1, spare // 2, gain=2)

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        spread = F.pad(x[:, :, :, None, :, None], (0, 1, 0, 0, 0, 1)).reshape(n, channels, 2 * height, 2 * width)
        smoothed: Tensor = self.smooth(spread)
        return smoothed


def same_size(taps: Sequence[float]) -> Filter:
    """A filter that keeps the image's size."""
    return Filter(taps, (len(taps) - 1) // 2, len(taps) // 2)


class BatchDeviation(nn.Module):
    """Appends to (N, C, H, W) how much the images of a batch differ: (N, C + channels, H, W).

    Every `group` images form a group, or fewer if the batch does not divide by it: image i is in group i mod (N /
    group). A new channel is the standard deviation over its group, averaged over a share of the channels and all pixels
    (Karras et al. 2018, section 3).
    """

    def __init__(self, group: int, channels: int):
        super().__init__()
        self.group, self.channels = group, channels

    def forward(self, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        group = next(size for size in range(min(self.group, count), 0, -1) if count % size == 0)
        grouped = x.reshape(group, count // group, self.channels, channels // self.channels, height, width)
        variance = (grouped - grouped.mean(0)).square().mean(0)
        deviation = (variance + EPS).sqrt().mean((2, 3, 4))  # (N / group, channels)
        planes = deviation.repeat(group, 1)[:, :, None, None].expand(-1, -1, height, width)
        return torch.cat([x, planes.to(x.dtype)], dim=1)
