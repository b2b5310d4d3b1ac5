"""Networks with random weights, for tests and timings that need no trained ones."""

from __future__ import annotations

import torch
from torch import nn

from starcast.train.families.stargan_v2.networks import Networks, StarGANv2Config, averaged_copy, build_networks


def random_networks(config: StarGANv2Config, seed: int = 0) -> Networks:
    """Averaged networks with every parameter random, so that a lost bias or norm shows."""
    networks = averaged_copy(build_networks(config, seed))
    draws = torch.Generator().manual_seed(seed + 1)
    for _, network in networks.items():
        for module in network.modules():
            if isinstance(module, nn.InstanceNorm2d):
                module.weight.data.normal_(1, 0.3, generator=draws)
            if isinstance(module, nn.InstanceNorm2d | nn.Conv2d | nn.Linear) and module.bias is not None:
                module.bias.data.normal_(0, 0.2, generator=draws)
    return networks.eval()
