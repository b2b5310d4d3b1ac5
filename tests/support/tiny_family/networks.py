"""The tiny family's one network."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from starcast.train.families.base import NetworkSet
from tiny_family.options import TinyNetwork


@dataclass(frozen=True, kw_only=True)
class TinyConfig(TinyNetwork):
    """What decides the network's shapes; a label for each domain."""

    family: ClassVar[str] = "tiny"
    stride: ClassVar[int] = 1

    domains: int


class Recolour(nn.Module):
    """images (N, 3, H, W) in -1..1, labels (N, domains) -> images (N, 3, H, W)."""

    def __init__(self, config: TinyConfig):
        super().__init__()
        self.first = nn.Conv2d(3, config.hidden, 3, padding=1)
        self.label = nn.Linear(config.domains, config.hidden)
        self.last = nn.Conv2d(config.hidden, 3, 1)

    def forward(self, image: Tensor, labels: Tensor) -> Tensor:
        features = self.first(image) + self.label(labels)[:, :, None, None]
        recoloured: Tensor = image + self.last(F.leaky_relu(features, 0.2))
        return recoloured


@dataclass
class Networks(NetworkSet):
    recolour: Recolour


def build_networks(config: TinyConfig, seed: int) -> Networks:
    networks, draws = empty_networks(config, training=True), torch.Generator().manual_seed(seed)
    for parameter in networks.recolour.parameters():
        nn.init.normal_(parameter, std=0.2, generator=draws)
    return networks


def empty_networks(config: TinyConfig, *, training: bool) -> Networks:
    with torch.device("meta"):
        network = Recolour(config)
    return Networks(network.to_empty(device="cpu"))


def averaged_copy(networks: Networks) -> Networks:
    return Networks(copy.deepcopy(networks.recolour)).eval()


def random_networks(config: TinyConfig, seed: int = 0) -> Networks:
    return build_networks(config, seed).eval()


def carry_over(network, state, fresh, origins):
    """A label's column belongs to its domain alone."""
    columns = fresh["label.weight"].clone()
    for domain, origin in enumerate(origins):
        if origin is not None:
            columns[:, domain] = state["label.weight"][:, origin]
    return {**state, "label.weight": columns}
