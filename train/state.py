"""A run's state: everything that a step changes, at step 0 or from the checkpoint that a run resumes from.

What decides the networks' shapes comes from the checkpoint and cannot change. Everything else can, from the next step
on: rates and weights, the seed, the batch size, and the folder of images as long as it has the same domains.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from starcast.errors import CheckpointError, DatasetError, OptionError, printable
from starcast.occupied import already
from starcast.options import from_json, replace_options
from starcast.train.allocation import explain_sizes
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.checkpoint.file import read_checkpoint
from starcast.train.checkpoint.optimizers import check_optimizer
from starcast.train.data.folders import DataSet, in_words
from starcast.train.families import DEFAULT, family, options_class
from starcast.train.families.base import Config, NetworkSet
from starcast.train.options import TrainOptions, check_same_family, check_same_shapes, shape_names
from starcast.train.run_folder import RunFolder, had_checkpoints, read_data_set, read_starts
from starcast.train.start_checkpoint import Parent, networks_from, open_parent

Progress = Callable[[str], None]


@dataclass(frozen=True)
class State:
    """The networks and optimisers of a run; `step` is the number of steps done when the run started."""

    config: Config
    networks: NetworkSet
    averaged: NetworkSet
    optimizers: dict[str, Optimizer]
    step: int
    parent: Mapping[str, Any] | None = None  # the record of the checkpoint that the run started from

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


def fresh_state(options: TrainOptions, domains: int, progress: Progress = lambda line: None) -> State:
    """Random networks at step 0. The averaged ones are copied after the initialisation, so that they start equal.

    Raises OptionError and CheckpointError if a network that no step changes has no weights.
    """
    kind = family(options.family)
    config = kind.configure(options, domains)
    with explain_sizes():
        networks = kind.build_networks(config, options.course.seed)
    kind.add_fixed(networks, options, {}, progress)
    return State(config, networks, kind.averaged_copy(networks), kind.build_optimizers(networks, options), 0)


def first_state(options: TrainOptions, data_set: DataSet, parent: Parent | None, progress: Progress) -> State:
    """Networks at step 0, random or from a checkpoint. Raises OptionError and CheckpointError, as `networks_from`."""
    if parent is None:
        return fresh_state(options, len(data_set.names), progress)
    config, networks, averaged = networks_from(parent, options, data_set.names, progress)
    optimizers = family(options.family).build_optimizers(networks, options)
    return State(config, networks, averaged, optimizers, 0, parent.record)


@dataclass(frozen=True)
class Start:
    """Where a run is resumed: at a full checkpoint, or at its beginning if it was killed before it had one.

    `origin` names the file that `options` and the data set's facts come from. `parent` is the record of the checkpoint
    that the run started from.
    """

    options: TrainOptions
    domain_names: tuple[str, ...]
    dataset: Mapping[str, Any] | None
    origin: str
    checkpoint: Checkpoint | None
    parent: Mapping[str, Any] | None = None


def find_start(run: RunFolder, progress: Progress) -> Start:
    """Where to resume a run; `progress` gets a line if that is not its newest checkpoint. Raises CheckpointError."""
    if not run.full_checkpoints():
        start = _beginning(run)
        progress(f"{printable(run.path)} has no full checkpoint yet: the run starts again from the beginning")
        return start
    return start_at(read_newest_whole(run, progress))


def start_elsewhere(path: Path, run: RunFolder, progress: Progress) -> Start:
    """Where another program's run is continued in a new folder: at an official checkpoint that has all that it needs.

    Raises OptionError if the folder holds a run, and CheckpointError if the checkpoint has only weights.
    """
    parent = open_parent(path, progress)
    checkpoint = dataclasses.replace(parent.checkpoint, parent=parent.record)
    if checkpoint.layout != "official":
        raise OptionError("--from starts a new run, and --resume continues one: leave one of them out")
    if run.has_run():
        raise OptionError(already(run.path, "holds a run", "continue it with --resume alone"))
    if checkpoint.networks is None or checkpoint.optimizers is None or checkpoint.step is None:
        raise CheckpointError(
            f"{parent.name} has no optimizers, so its run cannot be continued: leave --resume out to start from its "
            "weights"
        )
    if checkpoint.note:
        progress(checkpoint.note)
    progress(f"Continuing the run of {parent.name} after its step {checkpoint.step:,}")
    return start_at(checkpoint)


def start_at(checkpoint: Checkpoint) -> Start:
    """Resume at this full checkpoint. Raises CheckpointError if it is not one."""
    return Start(
        options_of(checkpoint), checkpoint.domain_names, checkpoint.dataset, printable(checkpoint.path), checkpoint
    )


def _beginning(run: RunFolder) -> Start:
    """The beginning of a run that has logged its start and perhaps written snapshots. Raises CheckpointError."""
    starts = read_starts(run)
    last = starts[-1] if starts else {}
    dataset = read_data_set(run)
    if last.get("step") != 0 or dataset is None or not isinstance(last.get("options"), dict):
        raise CheckpointError(_nothing_to_resume(run))
    options = from_json(options_class(last.get("family", DEFAULT)), last["options"], str(run.record))
    if had_checkpoints(run):
        raise CheckpointError(_nothing_to_resume(run))
    return Start(options, tuple(dataset["domains"]), dataset, printable(run.record), None, last.get("from"))


def _nothing_to_resume(run: RunFolder) -> str:
    mixes = run.has_run() or had_checkpoints(run)
    way_out = "start a new run with another -o" if mixes else "start the run without --resume"
    return f"{printable(run.path)} has no full checkpoint to resume from: {way_out}"


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
            progress(f"Resuming from an earlier checkpoint: {printable(path)}")
        return checkpoint
    if broken:
        raise CheckpointError(f"{printable(run.path)} has no readable checkpoint; the error of the newest: {broken[0]}")
    raise CheckpointError(_nothing_to_resume(run))


def options_of(checkpoint: Checkpoint) -> TrainOptions:
    """The options that a full checkpoint of ours holds. Raises CheckpointError if it is not one."""
    if checkpoint.options is None:
        raise CheckpointError(_not_full(checkpoint))
    sizes, names = vars(checkpoint.config), shape_names(options_class(checkpoint.family))
    for name, stored in checkpoint.options.items():
        value = tuple(stored) if isinstance(stored, list) else stored  # JSON has no tuples
        if name in names and value != sizes.get(name, value):
            raise CheckpointError(
                f"{printable(checkpoint.path)} is damaged ({name} is {value!r:.40} in its options, and {sizes[name]} "
                "in its networks): give another checkpoint of the run"
            )
    return from_json(options_class(checkpoint.family), checkpoint.options, printable(checkpoint.path))


def resumed_options(start: Start, family: str, given: Mapping[str, Any]) -> TrainOptions:
    """A run's options, with those in `given` replaced. Raises OptionError for another family or other shapes."""
    check_same_family(family, start.options, start.origin)
    options = replace_options(start.options, **given)
    check_same_shapes(options, start.options, start.origin)
    return options


def check_same_domains(data_set: DataSet, start: Start, progress: Progress) -> None:
    """Raise DatasetError if the domains are not the run's; `progress` gets a line if only the files differ."""
    place = printable(data_set.path)
    if data_set.names != start.domain_names:
        raise DatasetError(
            f"{place} has the domains {in_words(data_set.names)}, but {start.origin} was trained on "
            f"{in_words(start.domain_names)}: give the folder it was trained on"
        )
    if start.dataset is not None and start.dataset.get("listing") != data_set.summary()["listing"]:
        progress(f"{place} holds other files than before: the run continues, but not as it would have")


def restore_state(checkpoint: Checkpoint, options: TrainOptions) -> State:
    """The state in a full checkpoint, with the rates of `options`. Raises CheckpointError if it is not a full one."""
    if checkpoint.networks is None or checkpoint.optimizers is None or checkpoint.step is None:
        raise CheckpointError(_not_full(checkpoint))
    kind = family(checkpoint.family)
    networks = kind.empty_networks(checkpoint.config, training=True)
    for name, module in networks.items():
        if name not in kind.fixed:
            module.load_state_dict(checkpoint.networks[name])
    kind.add_fixed(networks, options, checkpoint.networks, lambda line: None)
    averaged = kind.averaged_copy(networks)
    for name, module in averaged.items():
        if name not in kind.fixed:
            module.load_state_dict(checkpoint.averaged[name])
    optimizers = kind.build_optimizers(networks, options)
    for name, optimizer in optimizers.items():
        check_optimizer(checkpoint.path, name, checkpoint.optimizers.get(name), optimizer)
        settings = [_settings(group) for group in optimizer.param_groups]
        optimizer.load_state_dict(checkpoint.optimizers[name])
        for group, wanted in zip(optimizer.param_groups, settings, strict=True):
            group.update(wanted)  # loading brought the checkpoint's settings along, but the options win
    return State(checkpoint.config, networks, averaged, optimizers, checkpoint.step, checkpoint.parent)


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    """The learning rate, decays and other settings of an optimiser's group."""
    return {name: value for name, value in group.items() if name != "params"}


def _not_full(checkpoint: Checkpoint) -> str:
    return f"{printable(checkpoint.path)} is not a full checkpoint, so no run can resume from it: start a new run"
