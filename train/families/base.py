"""What a family is: the values and functions that training, checkpoints, export and benchmarks use."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from starcast.train.adain import Implementation
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.data.batches import StepBatches
from starcast.train.data.folders import DataSet

StateDict = Mapping[str, Tensor]


class Config(Protocol):
    """What decides the shapes of a model's networks: a dataclass of plain values, stored in every checkpoint."""

    family: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def image_size(self) -> int: ...

    @property
    def domains(self) -> int: ...

    @property
    def stride(self) -> int | None:
        """The generator accepts every height and width that is a multiple of this; None: it takes no source."""


@dataclass
class NetworkSet:
    """Base of a family's networks: a dataclass whose fields are modules, or None for networks that a set lacks."""

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
        """Choose how AdaIN is computed, in place; returns itself. Does nothing for networks without AdaIN."""
        return self

    def eval(self) -> Self:
        """Prepare for use, in place: no parameter requires a gradient. Returns itself."""
        for _, module in self.items():
            module.eval().requires_grad_(False)
        return self

    def state_dicts(self) -> dict[str, dict[str, Tensor]]:
        """Every network's state_dict by its name. The tensors are the live ones, not copies."""
        return {name: module.state_dict() for name, module in self.items()}


class SampleInputs(Protocol):
    """The images and styles of a run's sample grids."""

    def to(self, device: torch.device) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family of models. Below, `options` and `config` are its own classes, `networks` its own NetworkSet."""

    name: str  # as in checkpoints and after --family
    title: str  # as people write it
    averaged: tuple[str, ...]  # networks that are averaged and used to translate
    trained: tuple[str, ...]  # networks of a full checkpoint
    shown_losses: Mapping[str, str]  # label beside the progress bar -> name of the loss

    # Networks
    configure: Callable[..., Config]  # (options, number of domains)
    read_config: Callable[[Mapping[str, Any]], Config]  # from a checkpoint; TypeError or ValueError if invalid
    build_networks: Callable[..., NetworkSet]  # (config, seed): initialised for training
    empty_networks: Callable[..., NetworkSet]  # (config, *, training: bool): shapes only, on the CPU
    averaged_copy: Callable[..., NetworkSet]  # (networks): equal values, no gradients
    random_networks: Callable[..., NetworkSet]  # (config, seed): averaged networks, every parameter random

    # Training
    scan: Callable[..., DataSet]  # (folder, options); DatasetError if it cannot be trained on
    batches: Callable[..., StepBatches]  # (data_set, options, *, workers)
    build_optimizers: Callable[..., dict[str, Optimizer]]  # (networks, options)
    # (networks, averaged, optimizers, batch, step, options, *, autocast) -> losses by name, on the device
    training_step: Callable[..., dict[str, Tensor]]
    compile_networks: Callable[..., None]  # (networks): in place
    sample_inputs: Callable[..., SampleInputs]  # (data_set, options)
    sample_grids: Callable[..., dict[str, Tensor]]  # (networks, averaged, inputs) -> kind -> uint8 (3, H, W)

    # Starting from a checkpoint with other domains: (network, its state, a fresh state, for each domain of the fresh
    # one its number in the first or None) -> the state to load. None: this family cannot
    carry_over: Callable[[str, StateDict, StateDict, Sequence[int | None]], StateDict] | None = None

    # Networks that some models have and no step changes, such as one that reads landmarks: what to do where a
    # checkpoint lacks one. Checkpoints store them like the others; as trained and averaged, they are equal.
    fixed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # (networks, options, stored, progress): add the fixed networks, in place, from what a checkpoint stores, or from
    # the files that the options name. CheckpointError or OptionError if neither has one
    add_fixed: Callable[[Any, Any, Mapping[str, StateDict], Callable[[str], None]], None] = lambda *_: None

    # Prefixes of names, network.parameter, of values drawn once that training never changes. Their mean would be of
    # another kind, so `starcast average` takes them from the newest checkpoint
    constants: tuple[str, ...] = ()

    # Training files
    check_config: Callable[..., None]  # (config, weights, origin): ValueError unless they match
    # (path, content, read) -> None: not this family's official layout. `read` safely reads a file beside it, or raises
    # CheckpointError
    read_official: Callable[[Path, Any, Callable[[Path], Any]], Checkpoint | None]
    describe_foreign: Callable[[Mapping[Any, Any]], str | None]  # says of a near miss: "holds a generator alone"
    # The files of an official checkpoint that is a folder; read_official gets their contents by these names
    checkpoint_files: Callable[[Path], Mapping[str, Path] | None] = lambda folder: None
    # Bytes in a file of Python objects, which are not read -> "is a pickle of …: convert it"
    unsafe_files: Mapping[bytes, str] = dataclasses.field(default_factory=dict)
