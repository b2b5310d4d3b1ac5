"""Everything that a step changes, and what it is at step 0."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.optim import Optimizer

from starcast.train.families.stargan_v2.networks import Networks, StarGANv2Config, averaged_copy, build_networks
from starcast.train.families.stargan_v2.step import build_optimizers
from starcast.train.options import TrainOptions


@dataclass(frozen=True)
class State:
    """The networks and optimisers of a run; `step` is the number of steps done when it started."""

    config: StarGANv2Config
    networks: Networks
    averaged: Networks
    optimizers: dict[str, Optimizer]
    step: int

    def to(self, device: torch.device, memory_format: torch.memory_format | None = None) -> State:
        """Move all tensors, in place; gives itself."""
        self.networks.to(device, memory_format)
        self.averaged.to(device, memory_format)
        for optimizer in self.optimizers.values():
            optimizer.load_state_dict(optimizer.state_dict())  # puts each tensor where its parameter now is
        return self

    def broken(self) -> str | None:
        """The name of the first parameter that is not finite, or None."""
        for networks in (self.networks, self.averaged):
            for name, module in networks.items():
                for parameter_name, parameter in module.named_parameters():
                    if not bool(torch.isfinite(parameter).all()):
                        return f"{name}.{parameter_name}"
        return None


def fresh_state(options: TrainOptions, domains: int) -> State:
    """Networks at step 0. The averaged ones are copied after the initialisation, so that they start equal."""
    config = StarGANv2Config(
        image_size=options.image_size,
        domains=domains,
        style_dim=options.style_dim,
        latent_dim=options.latent_dim,
        mapping_width=options.mapping_width,
        channel_base=options.channel_base,
        max_channels=options.max_channels,
    )
    networks = build_networks(config, options.seed)
    return State(config, networks, averaged_copy(networks), optimizers_for(networks, options), 0)


def optimizers_for(networks: Networks, options: TrainOptions) -> dict[str, Optimizer]:
    return build_optimizers(
        networks,
        learning_rate=options.learning_rate,
        mapping_learning_rate=options.mapping_learning_rate,
        betas=(options.beta1, options.beta2),
        weight_decay=options.weight_decay,
    )
