"""StarGAN v2 (Choi et al. 2020): generator, mapping network, style encoder and discriminator.

Modules are named as in the official code, so official state_dicts load as they are. Images are float
(N, 3, H, W) in -1..1, domains int64 (N,), latents (N, latent_dim), styles (N, style_dim).

Face models (`high_pass` above 0, the official `w_hpf`) have one more level and no shortcuts in the decoder. Instead,
fine detail of the source is added where masks of its face say so: `faces.py` makes them.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from starcast.errors import OptionError
from starcast.train.adain import Implementation
from starcast.train.allocation import allocate
from starcast.train.families.base import NetworkSet
from starcast.train.families.stargan_v2.faces import face_masks
from starcast.train.families.stargan_v2.landmarks import FAN, SIDE, random_fan
from starcast.train.families.stargan_v2.layers import SLOPE, AdaIN, AdainResBlk, AffineNorm, HighPass, ResBlk
from starcast.train.families.stargan_v2.options import StarGANv2Network

AVERAGED = ("generator", "mapping_network", "style_encoder")  # these are averaged and used to translate
TRAINED = (*AVERAGED, "discriminator")
BOTTLENECK, FACE_BOTTLENECK = 16, 8  # side of the generator's innermost features at the training size
# Sides, at the training size, of the features whose detail a face model keeps, and which of the two masks says where
KEPT = {32: 0, 64: 1, 128: 1}

Features = tuple[Tensor, ...]  # the innermost ones, then those whose detail is kept, the largest first


@dataclass(frozen=True, kw_only=True)
class StarGANv2Config(StarGANv2Network):
    """What decides the shapes of the four networks. Raises OptionError if no networks can have such shapes."""

    family: ClassVar[str] = "stargan_v2"

    domains: int

    @classmethod
    def of(cls, network: StarGANv2Network, domains: int) -> StarGANv2Config:
        """The configuration of networks with these options for that many domains."""
        return cls(**vars(network), domains=domains)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.domains < 1:
            raise OptionError(f"the number of domains is {self.domains}: give at least 1")

    @property
    def first_channels(self) -> int:
        """Channels at the image's full size."""
        return self.channel_base // self.image_size

    @property
    def stride(self) -> int:
        """The generator accepts any height and width that are multiples of this."""
        return self.image_size // (FACE_BOTTLENECK if self.is_face_model else BOTTLENECK)

    @property
    def is_face_model(self) -> bool:
        """Whether the source's detail is kept in places, for which masks are needed."""
        return self.high_pass > 0

    @property
    def halvings(self) -> int:
        """How often the generator halves its source."""
        return self.stride.bit_length() - 1

    def kept_sides(self) -> dict[int, int]:
        """The side, at the training size, of the features before each halving whose detail is kept, by its number."""
        sides = {number: self.image_size >> number for number in range(self.halvings)} if self.is_face_model else {}
        return {number: side for number, side in sides.items() if side in KEPT}

    def widths(self, halvings: int) -> list[int]:
        """Channels before and after each halving: `halvings + 1` numbers."""
        widths = [self.first_channels]
        for _ in range(halvings):
            widths.append(min(2 * widths[-1], self.max_channels))
        return widths


class Generator(nn.Module):
    """Translates: source (N, 3, H, W), style (N, style_dim) -> image (N, 3, H, W), not bounded to -1..1.

    H and W are any multiples of the config's stride. A face model also takes the masks of its sources (N, 2, h, w);
    without masks it keeps no detail, which is not how it was trained. At the training size, h and w are 256, and they
    grow with H and W.

    `forward` runs two halves in turn. The first does not depend on the style, so its result serves any number of
    styles. The halves are called `encode_source` and `decode_features` because `encode` and `decode` are the official
    names of the two lists of blocks.
    """

    def __init__(self, config: StarGANv2Config):
        super().__init__()
        self.config = config
        widths = config.widths(config.halvings)
        first, last = widths[0], widths[-1]
        steps = list(itertools.pairwise(widths))
        shortcut = not config.is_face_model
        self.from_rgb = nn.Conv2d(3, first, 3, padding=1)
        self.encode = nn.ModuleList(
            [ResBlk(before, after, normalize=True, downsample=True) for before, after in steps]
            + [ResBlk(last, last, normalize=True) for _ in range(2)]
        )
        self.decode = nn.ModuleList(
            [AdainResBlk(last, last, config.style_dim, shortcut=shortcut) for _ in range(2)]
            + [
                AdainResBlk(after, before, config.style_dim, upsample=True, shortcut=shortcut)
                for before, after in reversed(steps)
            ]
        )
        # the official names are 0 and 2; 1 is the activation, which our norm includes
        self.to_rgb = nn.Sequential(AffineNorm(first), nn.Identity(), nn.Conv2d(first, 3, 1))
        if config.is_face_model:
            self.hpf = HighPass(config.high_pass)
        self._kept = tuple(config.kept_sides())  # numbers of the encode blocks whose input's detail is kept
        # decode block -> the kept features that it gets, their mask, and how many of its pixels are one of theirs
        last_block = len(self.decode) - 1
        self._added = {
            last_block - number: (1 + place, KEPT[side], SIDE // side)
            for place, (number, side) in enumerate(config.kept_sides().items())
        }

    def forward(self, source: Tensor, style: Tensor, masks: Tensor | None = None) -> Tensor:
        return self.decode_features(self.encode_source(source), style, masks)

    def encode_source(self, source: Tensor) -> Features:
        """The innermost features (N, C, H / stride, W / stride) of a source, and those whose detail is kept."""
        features: Tensor = self.from_rgb(source)
        kept = []
        for number, block in enumerate(self.encode):
            if number in self._kept:
                kept.append(features)
            features = block(features)
        return features, *kept

    def decode_features(self, features: Features, style: Tensor, masks: Tensor | None = None) -> Tensor:
        """The translation (N, 3, H, W) of the source that has these features."""
        x = features[0]
        for number, block in enumerate(self.decode):
            x = block(x, style)
            if masks is not None and number in self._added:
                place, which, step = self._added[number]
                x = x + self.hpf(_every(masks[:, which : which + 1], step) * features[place])
        image: Tensor = self.to_rgb(x)
        return image


def _every(mask: Tensor, step: int) -> Tensor:
    """A mask reduced by an even factor: bilinear, corners not aligned, which is the mean of each square's middle four
    pixels."""
    first = step // 2 - 1
    return F.avg_pool2d(mask[:, :, first:, first:], 2, stride=step)


class MappingNetwork(nn.Module):
    """latent (N, latent_dim), domain (N,) -> style (N, style_dim)."""

    def __init__(self, config: StarGANv2Config):
        super().__init__()
        width = config.mapping_width
        self.shared = _perceptron([config.latent_dim] + 4 * [width], last_activation=True)
        self.unshared = nn.ModuleList(
            _perceptron(4 * [width] + [config.style_dim], last_activation=False) for _ in range(config.domains)
        )

    def forward(self, latent: Tensor, domain: Tensor) -> Tensor:
        shared = self.shared(latent)
        return _of_domain(torch.stack([head(shared) for head in self.unshared], dim=1), domain)


class StyleEncoder(nn.Module):
    """image (N, 3, image_size, image_size), domain (N,) -> style (N, style_dim)."""

    def __init__(self, config: StarGANv2Config):
        super().__init__()
        self.shared, width = _trunk(config)
        self.unshared = nn.ModuleList(nn.Linear(width, config.style_dim) for _ in range(config.domains))

    def forward(self, image: Tensor, domain: Tensor) -> Tensor:
        shared = self.shared(image).flatten(1)
        return _of_domain(torch.stack([head(shared) for head in self.unshared], dim=1), domain)


class Discriminator(nn.Module):
    """image (N, 3, image_size, image_size), domain (N,) -> logits (N,): above 0 if it looks real in the domain."""

    def __init__(self, config: StarGANv2Config):
        super().__init__()
        self.main, width = _trunk(config)
        self.main.append(nn.Conv2d(width, config.domains, 1))

    def forward(self, image: Tensor, domain: Tensor) -> Tensor:
        logits = self.main(image).flatten(1)
        return _of_domain(logits[:, :, None], domain)[:, 0]


@dataclass
class Networks(NetworkSet):
    """The networks of one model. An averaged set has no discriminator, and only a face model has FAN, which no step
    changes: the networks as trained and their average share it."""

    generator: Generator
    mapping_network: MappingNetwork
    style_encoder: StyleEncoder
    discriminator: Discriminator | None = None
    fan: FAN | None = None

    def masks(self, images: Tensor) -> Tensor | None:
        """The masks of images (N, 3, H, W) that the generator takes, without gradient; None unless it is a face model.

        Raises ValueError for a face model without its landmark network.
        """
        config = self.generator.config
        if not config.is_face_model:
            return None
        if self.fan is None:
            raise ValueError("a face model's masks are made by its landmark network, which this set lacks")
        return face_masks(self.fan, images, config.image_size)

    def use_adain(self, implementation: Implementation) -> Networks:
        for _, network in self.items():
            for module in network.modules():
                if isinstance(module, AdaIN | AffineNorm):
                    module.implementation = implementation
        return self


def build_networks(config: StarGANv2Config, seed: int) -> Networks:
    """The four training networks, initialised from the seed alone, without touching the global random state.

    Convolutions and linear layers are Kaiming normal (fan in, gain of a ReLU) with biases 0; norms start with scale 1
    and shift 0. A face model lacks its landmark network, whose weights are never random: `complete_networks` adds it.
    """
    networks = empty_networks(config, training=True)
    networks.fan = None
    draws = torch.Generator().manual_seed(seed)
    for _, network in networks.items():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu", generator=draws)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.InstanceNorm2d | HighPass):
                module.reset_parameters()
    return networks


def empty_networks(config: StarGANv2Config, *, training: bool) -> Networks:
    """Networks of the right shapes on the CPU with uninitialised parameters; fill all of them before use."""
    with torch.device("meta"):
        networks = Networks(
            Generator(config),
            MappingNetwork(config),
            StyleEncoder(config),
            Discriminator(config) if training else None,
            FAN() if config.is_face_model else None,
        )
    allocate(*(module for _, module in networks.items()))
    return networks


def averaged_copy(networks: Networks) -> Networks:
    """A copy of the three networks that are averaged, with equal values and without gradients."""
    copies = {name: copy.deepcopy(getattr(networks, name)) for name in AVERAGED}
    return Networks(**copies, fan=networks.fan).eval()


def random_networks(config: StarGANv2Config, seed: int = 0) -> Networks:
    """Averaged networks with every parameter random, so that a lost bias or norm shows up."""
    networks = averaged_copy(build_networks(config, seed))
    draws = torch.Generator().manual_seed(seed + 1)
    if config.is_face_model:
        networks.fan = random_fan(draws)
    for _, network in networks.items():
        for module in network.modules():
            if isinstance(module, nn.InstanceNorm2d):
                module.weight.data.normal_(1, 0.3, generator=draws)
            if isinstance(module, nn.InstanceNorm2d | nn.Conv2d | nn.Linear) and module.bias is not None:
                module.bias.data.normal_(0, 0.2, generator=draws)
    return networks.eval()


def _perceptron(widths: list[int], *, last_activation: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width_in, width_out in itertools.pairwise(widths):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
    return nn.Sequential(*(layers if last_activation else layers[:-1]))


def _trunk(config: StarGANv2Config) -> tuple[nn.Sequential, int]:
    """Layers from the image to (N, width, 1, 1), shared by style encoder and discriminator; and that width."""
    halvings = config.image_size.bit_length() - 3  # down to 4x4
    widths = config.widths(halvings)
    layers = nn.Sequential(nn.Conv2d(3, widths[0], 3, padding=1))
    for before, after in itertools.pairwise(widths):
        layers.append(ResBlk(before, after, downsample=True))
    layers.extend([nn.LeakyReLU(SLOPE), nn.Conv2d(widths[-1], widths[-1], 4), nn.LeakyReLU(SLOPE)])
    return layers, widths[-1]


def _of_domain(heads: Tensor, domain: Tensor) -> Tensor:
    """(N, domains, C), (N,) -> (N, C): picks the head of each sample's domain, by a gather, which ONNX supports."""
    return heads.gather(1, domain[:, None, None].expand(-1, 1, heads.shape[2])).squeeze(1)
