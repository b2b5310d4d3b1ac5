"""FAN, the network that finds a face's 98 landmarks, as the official StarGAN v2 uses it (Wang et al. 2019).

Modules are named as in the official code, so its weights load as they are. The weights are always somebody's file:
nothing here trains them, and no step changes them.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from starcast.images.landmarks import read_landmarks

SIDE = 256  # of the image that FAN reads
LANDMARKS = 98  # in the order of WFLW
DEPTH = 4  # halvings within the hourglass
FEATURES = 256
COORDINATES = 3  # planes beside a map: row, column, and distance from the centre


class FAN(nn.Module):
    """Images (N, 3, H, W) in -1..1 of any size -> a heatmap for each landmark, (N, 98, 64, 64), about 0..1.

    Runs on the average statistics of its norms, never on those of a batch, and its parameters need no gradient.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = CoordinateConv(3, 64, 7, stride=2, padding=3)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = ConvBlock(64, 128)
        self.conv3 = ConvBlock(128, 128)
        self.conv4 = ConvBlock(128, FEATURES)
        self.m0 = Hourglass(FEATURES)
        self.top_m_0 = ConvBlock(FEATURES, FEATURES)
        self.conv_last0 = nn.Conv2d(FEATURES, FEATURES, 1)
        self.bn_end0 = nn.BatchNorm2d(FEATURES)
        self.l0 = nn.Conv2d(FEATURES, LANDMARKS + 1, 1)  # the last one is the face's outline, which nothing reads
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode, because the statistics are part of the weights."""
        return super().train(False)

    def forward(self, image: Tensor) -> Tensor:
        if image.shape[2:] != (SIDE, SIDE):
            image = F.interpolate(image, size=(SIDE, SIDE), mode="bilinear")
        x = F.relu(self.bn1(self.conv1(image * 0.5 + 0.5)))
        x = F.avg_pool2d(self.conv2(x), 2)
        x = self.conv4(self.conv3(x))
        x = self.top_m_0(self.m0(x))
        x = F.relu(self.bn_end0(self.conv_last0(x)))
        heatmaps: Tensor = self.l0(x)
        return heatmaps[:, :LANDMARKS]


class CoordinateConv(nn.Module):
    """A convolution that also sees where it is: row and column in -1..1, and the distance from the centre in 0..1."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, padding: int = 0):
        super().__init__()
        self.conv = nn.Conv2d(channels_in + COORDINATES, channels_out, kernel, stride=stride, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        places = coordinates(x.shape[2], x.shape[3], x.device).to(x.dtype)
        whole: Tensor = self.conv(torch.cat([x, places.expand(x.shape[0], -1, -1, -1)], dim=1))
        return whole


def coordinates(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """(1, 3, height, width): row and column in -1..1, and the distance from the centre, 1 at the corners."""
    rows = torch.arange(height, dtype=torch.float32, device=device) / (height - 1) * 2 - 1
    columns = torch.arange(width, dtype=torch.float32, device=device) / (width - 1) * 2 - 1
    down, across = rows[:, None].expand(height, width), columns[None].expand(height, width)
    distance = (down**2 + across**2).sqrt()
    return torch.stack([down, across, distance / distance.max()])[None]


class ConvBlock(nn.Module):
    """Three 3x3 convolutions in a row, whose outputs stand side by side, plus a shortcut: (N, in, H, W) -> (N, out, H,
    W). Norm and activation come first."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        half, quarter = channels_out // 2, channels_out // 4
        self.bn1, self.conv1 = nn.BatchNorm2d(channels_in), _conv3x3(channels_in, half)
        self.bn2, self.conv2 = nn.BatchNorm2d(half), _conv3x3(half, quarter)
        self.bn3, self.conv3 = nn.BatchNorm2d(quarter), _conv3x3(quarter, quarter)
        self.downsample = (
            nn.Sequential(nn.BatchNorm2d(channels_in), nn.ReLU(), nn.Conv2d(channels_in, channels_out, 1, bias=False))
            if channels_in != channels_out
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv1(F.relu(self.bn1(x)))
        second = self.conv2(F.relu(self.bn2(first)))
        third = self.conv3(F.relu(self.bn3(second)))
        whole: Tensor = torch.cat([first, second, third], dim=1) + self.downsample(x)
        return whole


class Hourglass(nn.Module):
    """Four levels, each half as large as the one above, and back: (N, C, 64, 64) -> (N, C, 64, 64).

    Level 4 is the largest. On level K, `b1_K` goes straight across, `b2_K` leads down, and `b3_K` comes back up; at the
    bottom is `b2_plus_1`.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.coordconv = CoordinateConv(channels, channels, 1)
        for level in range(DEPTH, 0, -1):
            for way in ("b1", "b2", "b3"):
                self.add_module(f"{way}_{level}", ConvBlock(channels, channels))
        self.b2_plus_1 = ConvBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self._level(DEPTH, self.coordconv(x))

    def _level(self, level: int, x: Tensor) -> Tensor:
        across, down, up = (self.get_submodule(f"{way}_{level}") for way in ("b1", "b2", "b3"))
        below = down(F.avg_pool2d(x, 2))
        below = self._level(level - 1, below) if level > 1 else self.b2_plus_1(below)
        whole: Tensor = across(x) + F.interpolate(up(below), scale_factor=2.0, mode="nearest")
        return whole


def random_fan(draws: torch.Generator) -> FAN:
    """FAN with random weights, whose heatmaps have peaks in random places: for measurements and tests."""
    network = FAN()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=draws)
            if module.bias is not None:
                module.bias.normal_(0, 0.1, generator=draws)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.weight.normal_(1, 0.2, generator=draws)
            module.bias.normal_(0, 0.1, generator=draws)
            module.running_mean.normal_(0, 0.2, generator=draws)
            module.running_var.uniform_(0.5, 1.5, generator=draws)
    network.l0.weight.div_(2**10)  # the hourglass adds up, and nothing here taught it to stay small
    nn.init.constant_(network.l0.bias, -0.6)  # type: ignore[arg-type]
    return network


def find_landmarks(network: FAN, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The landmarks [98, 2] (x, y) of a face that fills an image, uint8 RGB [H, W, 3], in the image's pixels."""
    height, width = image.shape[:2]
    landmarks: NDArray[np.float32] = read_landmarks(find_heatmaps(network, image)[None], height, width)[0]
    return landmarks


@torch.inference_mode()
def find_heatmaps(network: FAN, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A heatmap for each landmark [98, 64, 64] of a face that fills an image, uint8 RGB [H, W, 3]."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    device = network.l0.weight.device
    heatmaps: NDArray[np.float32] = network(pixels.to(device).float() / 127.5 - 1).float().cpu().numpy()[0]
    return heatmaps


def _conv3x3(channels_in: int, channels_out: int) -> Any:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
