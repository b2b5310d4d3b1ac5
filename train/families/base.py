"""What a family is: the values and functions that runs, checkpoints, the export and the benchmarks ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from starcast.train.checkpoint.content import Checkpoint
from starcast.train.data.batches import StepBatches
from starcast.train.network_set import NetworkSet


class Config(Protocol):
    """What decides the shapes of a model's networks: a dataclass of plain values, stored in every checkpoint."""

    family: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def image_size(self) -> int: ...

    @property
    def domains(self) -> int: ...

    @property
    def stride(self) -> int:
        """The generator takes every height and width that is a multiple of this."""


class SampleInputs(Protocol):
    """The images and styles of a run's sample grids."""

    def to(self, device: torch.device) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family of models. `options` and `config` below are its own classes, `networks` its own NetworkSet."""

    name: str  # as in checkpoints and after --family
    title: str  # as people write it
    averaged: tuple[str, ...]  # networks that are averaged, and that translate
    trained: tuple[str, ...]  # networks of a full checkpoint
    shown_losses: Mapping[str, str]  # label beside the progress bar -> name of the loss

    # Networks
    configure: Callable[..., Config]  # (options, number of domains)
    read_config: Callable[[Mapping[str, Any]], Config]  # from a checkpoint; TypeError, ValueError if it is none
    build_networks: Callable[..., NetworkSet]  # (config, seed): initialised for training
    empty_networks: Callable[..., NetworkSet]  # (config, *, training: bool): shapes only, on the CPU
    averaged_copy: Callable[..., NetworkSet]  # (networks): equal values, no gradients
    random_networks: Callable[..., NetworkSet]  # (config, seed): averaged networks, every parameter random

    # Training
    batches: Callable[..., StepBatches]  # (data_set, options, *, workers)
    build_optimizers: Callable[..., dict[str, Optimizer]]  # (networks, options)
    # (networks, averaged, optimizers, batch, step, options, *, autocast) -> losses by name, on the device
    training_step: Callable[..., dict[str, Tensor]]
    compile_networks: Callable[..., None]  # (networks): in place
    sample_inputs: Callable[..., SampleInputs]  # (data_set, options)
    sample_grids: Callable[..., dict[str, Tensor]]  # (averaged, inputs) -> kind -> uint8 (3, H, W)

    # Training files
    check_config: Callable[..., None]  # (config, weights, origin): ValueError unless they belong together
    read_official: Callable[[Path, Any], Checkpoint | None]  # None: not this family's official layout
    describe_foreign: Callable[[Mapping[Any, Any]], str | None]  # a near miss, as in "holds a generator alone"
