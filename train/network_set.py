"""The networks of one model, by name: what every family's set can do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from starcast.train.adain import Implementation


@dataclass
class NetworkSet:
    """Base of a family's networks: a dataclass whose fields are modules, or None for those that a set goes without."""

    def items(self) -> Iterator[tuple[str, nn.Module]]:
        """Name and module of each network in the set; the names are those of a checkpoint."""
        for field in dataclasses.fields(self):
            module = getattr(self, field.name)
            if module is not None:
                yield field.name, module

    def to(self, device: torch.device | str, memory_format: torch.memory_format | None = None) -> Self:
        """Move all parameters, in place; returns itself."""
        for _, module in self.items():
            module.to(device)
            if memory_format is not None:
                module.to(memory_format=memory_format)
        return self

    def use_adain(self, implementation: Implementation) -> Self:
        """Choose how AdaIN is computed, in place; returns itself. Networks without AdaIN have nothing to choose."""
        return self

    def eval(self) -> Self:
        """Ready for use: no parameter takes a gradient. Returns itself."""
        for _, module in self.items():
            module.eval().requires_grad_(False)
        return self

    def state_dicts(self) -> dict[str, dict[str, Tensor]]:
        """Every network's state_dict by its name. The tensors are the live ones, not copies."""
        return {name: module.state_dict() for name, module in self.items()}
