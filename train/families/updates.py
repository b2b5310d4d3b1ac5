"""What the training steps of all families do alike: update, freeze, run in bfloat16, and average."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from starcast.train.families.base import NetworkSet


@contextmanager
def optimize(optimizers: Mapping[str, Optimizer], *names: str) -> Iterator[None]:
    """One update: clear gradients, run the block, step these optimizers, and clear gradients again."""
    for name in names:
        optimizers[name].zero_grad()
    yield
    for name in names:
        optimizers[name].step()
        optimizers[name].zero_grad()  # now, because the next update needs the memory


@contextmanager
def freeze(*modules: nn.Module | None) -> Iterator[None]:
    """Within the block, no parameter of these modules requires a gradient; gradients still flow through them."""
    for module in modules:
        if module is not None:
            module.requires_grad_(False)
    try:
        yield
    finally:
        for module in modules:
            if module is not None:
                module.requires_grad_(True)


def in_bfloat16(images: Tensor, enabled: bool) -> torch.autocast:
    """Autocast to bfloat16 on the device of `images`, if enabled."""
    # No cache: it would reuse a weight's bfloat16 copy from a pass without a graph where a graph is needed.
    return torch.autocast(images.device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)


@torch.no_grad()
def update_average(averaged: NetworkSet, networks: NetworkSet, decay: float) -> None:
    """Move every parameter of the average towards the network's by a share of 1 - decay, in place."""
    training = dict(networks.items())
    for name, module in averaged.items():
        if module is training[name]:  # no step changes it, so both sets share it
            continue
        torch._foreach_lerp_(list(module.parameters()), list(training[name].parameters()), 1 - decay)
