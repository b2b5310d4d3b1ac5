"""What a training file holds, and a check that its weights are complete, of the right shape, plain and finite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from starcast.errors import CheckpointError, OptionError, printable
from starcast.train.allocation import explain_sizes
from starcast.train.families import family

StateDicts = dict[str, dict[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A training file's content, on the CPU. State dicts are in float32, by network name.

    `layout` is "starcast" or "official". `config` is of the family's class. `networks` includes those used only in
    training. `has_average` is False if `averaged` holds networks as trained, because the file has no others. `dataset`
    has at least `name` and `path`. `parent` is what the run recorded of the checkpoint it started from, `members` what
    `starcast average` recorded of the checkpoints it averaged. `note` says what is unusual about the file, or is None.
    """

    path: Path
    layout: str
    family: str
    config: Any
    domain_names: tuple[str, ...]
    step: int | None
    averaged: StateDicts
    has_average: bool = True
    networks: StateDicts | None = None
    optimizers: dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    dataset: dict[str, Any] | None = None
    parent: Mapping[str, Any] | None = None
    members: tuple[Mapping[str, Any], ...] = ()
    note: str | None = None

    @property
    def descends_from_official(self) -> bool:
        """Whether the weights are official ones, or were trained or averaged from some."""
        origins: list[Any] = [{"layout": self.layout, "parent": self.parent, "members": self.members}]
        while origins:
            origin = origins.pop()
            if not isinstance(origin, Mapping):
                continue
            if origin.get("layout") == "official":
                return True
            members = origin.get("members")
            origins += [origin.get("parent"), *(members if isinstance(members, list | tuple) else ())]
        return False


def is_state_dict(value: object) -> bool:
    """True for a non-empty table of tensors by name."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and isinstance(part, Tensor) for name, part in value.items())
    )


def check_weights(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError unless every parameter is present, plain, finite and of the configuration's shape.

    Surplus ones are dropped.
    """
    _check_parameters(checkpoint, checkpoint.averaged)
    if checkpoint.networks is not None:
        _check_parameters(checkpoint, checkpoint.networks)


def _check_parameters(checkpoint: Checkpoint, states: StateDicts) -> None:
    path, kind = checkpoint.path, family(checkpoint.family)
    try:
        with explain_sizes():
            networks = kind.empty_networks(checkpoint.config, training=not set(states) <= {*kind.averaged, *kind.fixed})
    except OptionError as error:
        raise CheckpointError(f"{printable(path)} cannot be read here: {error}") from error
    for network, module in networks.items():
        if network not in states and network in kind.fixed:
            continue
        state, own = states[network], module.state_dict()
        for name, wanted in own.items():
            value, shape = state.get(name), wanted.shape
            if not wanted.is_floating_point():  # a norm's count of batches, which nothing reads
                state[name] = torch.zeros_like(wanted)
                continue
            if value is None:
                raise CheckpointError(f"{path} lacks {network}.{name}: give a complete checkpoint")
            if value.shape != shape:
                raise CheckpointError(
                    f"{path} has {network}.{name} of shape {tuple(value.shape)} instead of {tuple(shape)}: give a "
                    f"checkpoint of the plain {kind.title}"
                )
            if not is_plain(value):
                raise CheckpointError(
                    f"{path} has {network}.{name} in a form other than plain numbers: give a plain checkpoint"
                )
            if not torch.isfinite(value).all():
                raise CheckpointError(
                    f"{path} has {network}.{name} with values that are not finite: give an earlier checkpoint"
                )
        for surplus in state.keys() - own.keys():
            del state[surplus]  # buffers that forks add and nothing here reads


def is_plain(value: Tensor) -> bool:
    """True for dense floating-point numbers in memory."""
    return value.is_floating_point() and value.layout == torch.strided and not value.is_meta and not value.is_quantized
