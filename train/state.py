"""Everything that a step changes, and what it is at step 0."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.optim import Optimizer

from starcast.train.families import family
from starcast.train.families.base import Config
from starcast.train.network_set import NetworkSet
from starcast.train.options import TrainOptions


@dataclass(frozen=True)
class State:
    """The networks and optimisers of a run; `step` is the number of steps done when it started."""

    config: Config
    networks: NetworkSet
    averaged: NetworkSet
    optimizers: dict[str, Optimizer]
    step: int

    def to(self, device: torch.device, memory_format: torch.memory_format | None = None) -> State:
        """Move all tensors, in place; returns itself."""
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
    kind = family(options.family)
    config = kind.configure(options, domains)
    networks = kind.build_networks(config, options.course.seed)
    return State(config, networks, kind.averaged_copy(networks), kind.build_optimizers(networks, options), 0)
