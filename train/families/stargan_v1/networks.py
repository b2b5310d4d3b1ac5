"""StarGAN v1 (Choi et al. 2018): a generator that is steered by labels, and a discriminator that also reads them.

Modules are named as in the official code, so official state_dicts load as they are. Images are float (N, 3, H, W) in
-1..1, labels float (N, label_size).

The instance norms always use the image's own statistics. The official files also hold running ones, which the original
updates in training and never uses: with them, images are wrong.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from starcast.errors import OptionError
from starcast.train.adain import Implementation, adain_leaky_relu
from starcast.train.families.base import NetworkSet
from starcast.train.families.stargan_v1.options import STRIDE, StarGANv1Network

AVERAGED = ("generator",)
TRAINED = ("generator", "discriminator")
MASK_BITS = 2  # which set an image belongs to, if there are two


@dataclass(frozen=True, kw_only=True)
class StarGANv1Config(StarGANv1Network):
    """What decides the shapes of both networks.

    The labels of an image are `attributes` numbers that are independent of each other, then `classes` of which one is
    1. If there are both, each image has one kind of them, zeros for the other, and two bits that say which.
    """

    family: ClassVar[str] = "stargan_v1"
    stride: ClassVar[int] = STRIDE

    attributes: int
    classes: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attributes < 0 or self.classes < 0 or not self.domains:
            raise OptionError(f"there are {self.attributes} attributes and {self.classes} classes: give at least one")

    @property
    def domains(self) -> int:
        """How many labels have a name."""
        return self.attributes + self.classes

    @property
    def label_size(self) -> int:
        """Length of the vector that the generator takes."""
        return self.domains + (MASK_BITS if self.attributes and self.classes else 0)

    @property
    def last_side(self) -> int:
        """Side of the discriminator's innermost features."""
        return self.image_size >> self.discriminator_layers


class Norm(nn.InstanceNorm2d):
    """Instance norm with its own weights, by the image's own statistics."""

    def __init__(self, channels: int):
        super().__init__(channels, affine=True)
        self.implementation: Implementation = "reference"

    def forward(self, x: Tensor) -> Tensor:
        if self.implementation == "reference":
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        return adain_leaky_relu(
            x, self.weight, self.bias, eps=self.eps, slope=1.0, implementation=self.implementation
        )  # fmt: skip


class ResidualBlock(nn.Module):
    """(N, C, H, W) -> (N, C, H, W), without an activation after the sum."""

    def __init__(self, channels: int):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), Norm(channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), Norm(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        summed: Tensor = x + self.main(x)
        return summed


class Generator(nn.Module):
    """source (N, 3, H, W), labels (N, label_size) -> image (N, 3, H, W) in -1..1. H and W are multiples of 4.

    The padding is of zeros: what reflects would erase the labels, whose planes are constant.
    """

    def __init__(self, config: StarGANv1Config):
        super().__init__()
        width = config.generator_width
        layers: list[nn.Module] = [nn.Conv2d(3 + config.label_size, width, 7, padding=3, bias=False), Norm(width)]
        layers.append(nn.ReLU())
        for channels in (width, 2 * width):
            down = nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1, bias=False)
            layers += [down, Norm(2 * channels), nn.ReLU()]
        layers += [ResidualBlock(4 * width) for _ in range(config.residual_blocks)]
        for channels in (4 * width, 2 * width):
            up = nn.ConvTranspose2d(channels, channels // 2, 4, stride=2, padding=1, bias=False)
            layers += [up, Norm(channels // 2), nn.ReLU()]
        layers += [nn.Conv2d(width, 3, 7, padding=3, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*layers)

    def forward(self, source: Tensor, labels: Tensor) -> Tensor:
        planes = labels[:, :, None, None].expand(-1, -1, source.shape[2], source.shape[3])
        image: Tensor = self.main(torch.cat([source, planes.to(source.dtype)], dim=1))
        return image


class Discriminator(nn.Module):
    """image (N, 3, image_size, image_size) -> how real each patch looks (N, 1, h, w), and logits of the labels
    (N, domains): of the attributes first, then of the classes."""

    def __init__(self, config: StarGANv1Config):
        super().__init__()
        self.attributes = config.attributes
        channels, layers = 3, list[nn.Module]()
        for number in range(config.discriminator_layers):
            width = config.discriminator_width << number
            layers += [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.01)]
            channels = width
        self.main = nn.Sequential(*layers)
        self.conv1 = nn.Conv2d(channels, 1, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, config.domains, config.last_side, bias=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.main(image)
        return self.conv1(features), self.conv2(features).flatten(1)

    def judge(self, image: Tensor) -> Tensor:
        """How real each patch looks, without the labels."""
        patches: Tensor = self.conv1(self.main(image))
        return patches

    def classify(self, image: Tensor) -> Tensor:
        """Logits of the labels (N, domains)."""
        logits: Tensor = self.conv2(self.main(image)).flatten(1)
        return logits


@dataclass
class Networks(NetworkSet):
    """The networks of one model. An averaged set has no discriminator."""

    generator: Generator
    discriminator: Discriminator | None = None

    def use_adain(self, implementation: Implementation) -> Networks:
        for module in self.generator.modules():
            if isinstance(module, Norm):
                module.implementation = implementation
        return self


def build_networks(config: StarGANv1Config, seed: int) -> Networks:
    """Both training networks, initialised from the seed alone, without touching the global random state.

    As the original, which leaves PyTorch's defaults: convolutions are uniform within 1 / sqrt(fan in), and so are their
    biases; norms start with scale 1 and shift 0.
    """
    networks = empty_networks(config, training=True)
    draws = torch.Generator().manual_seed(seed)
    for _, network in networks.items():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=draws)
                if module.bias is not None:
                    bound = 1 / math.sqrt(module.weight[0].numel())
                    nn.init.uniform_(module.bias, -bound, bound, generator=draws)
            elif isinstance(module, nn.InstanceNorm2d):
                module.reset_parameters()
    return networks


def empty_networks(config: StarGANv1Config, *, training: bool) -> Networks:
    """Networks of the right shapes on the CPU with uninitialised parameters; fill all of them before use."""
    with torch.device("meta"):
        networks = Networks(Generator(config), Discriminator(config) if training else None)
    for _, module in networks.items():
        module.to_empty(device="cpu")
    return networks


def averaged_copy(networks: Networks) -> Networks:
    """A copy of the generator, with equal values and without gradients."""
    return Networks(copy.deepcopy(networks.generator)).eval()


def random_networks(config: StarGANv1Config, seed: int = 0) -> Networks:
    """An averaged set with every parameter random, so that a lost norm shows up."""
    networks = averaged_copy(build_networks(config, seed))
    draws = torch.Generator().manual_seed(seed + 1)
    for module in networks.generator.modules():
        if isinstance(module, nn.InstanceNorm2d):
            module.weight.data.normal_(1, 0.3, generator=draws)
            module.bias.data.normal_(0, 0.2, generator=draws)
    return networks
