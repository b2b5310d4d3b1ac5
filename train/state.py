"""A run's state: everything that a step changes, at step 0 or from the checkpoint that a run resumes from.

What decides the networks' shapes comes from the checkpoint and cannot change. Everything else can, from the next step
on: rates and weights, the seed, the batch size, and the folder of images as long as it has the same domains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import Optimizer

from starcast.errors import CheckpointError, DatasetError
from starcast.options import from_json, replace_options
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.checkpoint.file import read_checkpoint
from starcast.train.data.folders import DataSet
from starcast.train.families import family, options_class
from starcast.train.families.base import Config, NetworkSet
from starcast.train.options import TrainOptions, check_same_family, check_same_shapes
from starcast.train.run_folder import RunFolder

Progress = Callable[[str], None]


@dataclass(frozen=True)
class State:
    """The networks and optimisers of a run; `step` is the number of steps done when the run started."""

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


def read_newest_whole(run: RunFolder, progress: Progress) -> Checkpoint:
    """The newest readable full checkpoint; `progress` gets the errors of newer ones. Raises CheckpointError."""
    broken: list[str] = []
    for path in run.full_checkpoints():
        try:
            checkpoint = read_checkpoint(path)
        except CheckpointError as error:
            broken.append(str(error))
            continue
        for sentence in broken:
            progress(sentence)
        if broken:
            progress(f"Resuming from an earlier checkpoint: {path}")
        return checkpoint
    if broken:
        raise CheckpointError(f"{run.path} has no readable checkpoint; about the newest: {broken[0]}")
    raise CheckpointError(f"{run.path} has no full checkpoint to resume from: start the run without --resume")


def options_of(checkpoint: Checkpoint) -> TrainOptions:
    """The options that a full checkpoint of ours holds. Raises CheckpointError if it is not one."""
    if checkpoint.options is None:
        raise CheckpointError(_not_full(checkpoint))
    return from_json(options_class(checkpoint.family), checkpoint.options, str(checkpoint.path))


def resumed_options(checkpoint: Checkpoint, family: str, given: Mapping[str, Any]) -> TrainOptions:
    """A checkpoint's options, with those in `given` replaced. Raises OptionError for another family or other shapes."""
    trained = options_of(checkpoint)
    check_same_family(family, trained, str(checkpoint.path))
    options = replace_options(trained, **given)
    check_same_shapes(options, trained, str(checkpoint.path))
    return options


def check_same_domains(data_set: DataSet, checkpoint: Checkpoint, progress: Progress) -> None:
    """Raise DatasetError if the domains are not the checkpoint's; `progress` gets a line if only the files differ."""
    if data_set.names != checkpoint.domain_names:
        raise DatasetError(
            f"{data_set.path} has the domains {', '.join(data_set.names)}, but {checkpoint.path} was trained on "
            f"{', '.join(checkpoint.domain_names)}: give the folder it was trained on"
        )
    if checkpoint.dataset is not None and checkpoint.dataset.get("listing") != data_set.summary()["listing"]:
        progress(f"{data_set.path} holds other files than before: the run continues, but not as it would have")


def restore_state(checkpoint: Checkpoint, options: TrainOptions) -> State:
    """The state in a full checkpoint, with the rates of `options`. Raises CheckpointError if it is not a full one."""
    if checkpoint.networks is None or checkpoint.optimizers is None or checkpoint.step is None:
        raise CheckpointError(_not_full(checkpoint))
    kind = family(checkpoint.family)
    networks = kind.empty_networks(checkpoint.config, training=True)
    for name, module in networks.items():
        module.load_state_dict(checkpoint.networks[name])
    averaged = kind.averaged_copy(networks)
    for name, module in averaged.items():
        module.load_state_dict(checkpoint.averaged[name])
    optimizers = kind.build_optimizers(networks, options)
    for name, optimizer in optimizers.items():
        settings = [_settings(group) for group in optimizer.param_groups]
        optimizer.load_state_dict(checkpoint.optimizers[name])
        for group, wanted in zip(optimizer.param_groups, settings, strict=True):
            group.update(wanted)  # loading brought the checkpoint's settings along, but the options win
    return State(checkpoint.config, networks, averaged, optimizers, checkpoint.step)


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    """The learning rate, decays and other settings of an optimiser's group."""
    return {name: value for name, value in group.items() if name != "params"}


def _not_full(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.path} is not a full checkpoint, so no run can resume from it: start a new run"
