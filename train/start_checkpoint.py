"""The checkpoint that a new run starts from (`--from`): its weights, for the domains of the run's data set.

Only weights are taken. Steps, optimisers and random draws start afresh, so that fine-tuning is a run like any other.
What decides the networks' shapes is the parent's, apart from the number of domains: layers that belong to one domain
each are matched by the domains' names. Official files know no names, so theirs are taken in order if there are as many.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starcast.errors import CheckpointError, OptionError, printable
from starcast.train.checkpoint.content import Checkpoint, StateDicts
from starcast.train.checkpoint.file import hash_of, read_checkpoint, record_of
from starcast.train.checkpoint.folder import choose_checkpoint, trained_beside
from starcast.train.data.folders import in_words
from starcast.train.families import family
from starcast.train.families.base import Config, NetworkSet
from starcast.train.options import TrainOptions, refuse_other_shapes, shape_names

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Parent:
    """A checkpoint that is read, and what the run records of it. `trained` is the file of the networks as trained."""

    checkpoint: Checkpoint
    record: Mapping[str, Any]
    trained: Path | None

    @property
    def name(self) -> str:
        """Its path, for messages."""
        return printable(self.checkpoint.path)


def open_parent(path: Path, progress: Progress) -> Parent:
    """Read the checkpoint that `--from` names: a file, or a folder that stands for one. Raises CheckpointError."""
    files = choose_checkpoint(path)
    if files.note:
        progress(files.note)
    return _read(files.path, files.trained)


def reopen_parent(record: Mapping[str, Any], run: Path) -> Parent:
    """The checkpoint that a run recorded, for its beginning again. Raises CheckpointError if it has changed."""
    path, trained = record.get("path"), record.get("trained")
    if not isinstance(path, str) or not isinstance(trained, str | None):
        raise CheckpointError(f"{printable(run)} does not record what it started from: start a new run with another -o")
    parent = _read(Path(path), None if trained is None else Path(trained))
    if any(parent.record.get(key) != record.get(key) for key in ("sha256", "trained_sha256")):
        raise CheckpointError(
            f"{printable(run)} started from {parent.name}, which has changed since: restore that file, or start a new "
            "run with another -o"
        )
    return parent


def _read(path: Path, trained: Path | None) -> Parent:
    checkpoint = read_checkpoint(path)
    record = record_of(checkpoint)
    if trained is not None:
        beside = read_checkpoint(trained)
        if beside.config != checkpoint.config:
            raise CheckpointError(
                f"{printable(path)} and {printable(trained)} have different sizes, so they belong to two models: "
                "give one of them instead of the folder"
            )
        checkpoint = dataclasses.replace(checkpoint, networks=beside.networks, note=None)
        record |= {"trained": str(trained.resolve()), "trained_sha256": hash_of(trained)}
    return Parent(checkpoint, record, trained)


def sizes_of(parent: Parent, options_class: type[TrainOptions]) -> dict[str, Any]:
    """The options that decide the networks' shapes, as the parent has them. Raises OptionError for another family."""
    checkpoint = parent.checkpoint
    if checkpoint.family != options_class.family:
        raise OptionError(f"{parent.name} belongs to family {checkpoint.family!r}: add --family {checkpoint.family}")
    return {name: value for name, value in vars(checkpoint.config).items() if name in shape_names(options_class)}


def check_sizes(options: TrainOptions, parent: Parent) -> None:
    """Raise OptionError unless the options ask for networks of the parent's shapes."""
    refuse_other_shapes(
        options, sizes_of(parent, type(options)), parent.name, "leave the option out, or start without --from"
    )


def networks_from(
    parent: Parent, options: TrainOptions, domain_names: Sequence[str], progress: Progress
) -> tuple[Config, NetworkSet, NetworkSet]:
    """The configuration, the networks and their average at step 0. `progress` gets a line about each part.

    Raises OptionError for other shapes, and CheckpointError for a family that cannot change its domains.
    """
    check_sizes(options, parent)
    kind, checkpoint = family(options.family), parent.checkpoint
    config = kind.configure(options, len(domain_names))
    origins = match_domains(checkpoint, domain_names)
    trained = checkpoint.networks if checkpoint.networks is not None else checkpoint.averaged
    networks = kind.build_networks(config, options.course.seed)
    for line in [*_describe_weights(parent, networks), _describe_domains(checkpoint, domain_names, origins)]:
        progress(line)
    _fill(networks, trained, parent, origins)
    kind.add_fixed(networks, options, {**checkpoint.averaged, **trained}, progress)
    averaged = kind.averaged_copy(networks)  # fresh layers are equal in both
    _fill(averaged, checkpoint.averaged, parent, origins)
    return config, networks, averaged


def match_domains(checkpoint: Checkpoint, names: Sequence[str]) -> tuple[int | None, ...]:
    """For each domain of the data set the number of the checkpoint's domain that it continues, or None."""
    if checkpoint.layout != "official":
        numbers = {name: number for number, name in enumerate(checkpoint.domain_names)}
        return tuple(numbers.get(name) for name in names)
    known = len(checkpoint.domain_names) == len(names)
    return tuple(range(len(names))) if known else (None,) * len(names)


def _fill(networks: NetworkSet, states: StateDicts, parent: Parent, origins: Sequence[int | None]) -> None:
    """Load the parent's weights into each network that it has."""
    kind, same = family(parent.checkpoint.family), tuple(range(parent.checkpoint.config.domains)) == tuple(origins)
    for name, module in networks.items():
        if name not in states or name in kind.fixed:
            continue
        state: Mapping[str, Any] = states[name]
        if not same:
            if kind.carry_over is None:
                raise CheckpointError(
                    f"{parent.name} was trained on {in_words(parent.checkpoint.domain_names)}, and {kind.title} cannot "
                    "start with other domains: give a data set with these"
                )
            state = kind.carry_over(name, state, module.state_dict(), origins)
        module.load_state_dict(state)


def _describe_weights(parent: Parent, networks: NetworkSet) -> list[str]:
    """What is loaded, and what starts from elsewhere."""
    checkpoint = parent.checkpoint
    stored = {*checkpoint.averaged, *(checkpoint.networks or ())}
    names = [name for name, _ in networks.items()]
    step = "" if checkpoint.step is None else f" (step {checkpoint.step:,})"
    lines = [f"Starting from {parent.name}{step}: {_as_words(name for name in names if name in stored)}"]
    if parent.trained is not None:
        lines.append(
            f"The networks as trained are from {printable(parent.trained)}, the averaged ones from the file above"
        )
    if missing := [name for name in names if name not in stored]:
        beside = trained_beside(checkpoint.path)
        hint = f" ({printable(beside.name)} beside it may have it: give the folder to use both)" if beside else ""
        lines.append(f"Fresh, because that checkpoint has none: {_as_words(missing)}{hint}")
    if checkpoint.networks is None:
        lines.append("It has only averaged networks: training starts from these")
    elif not checkpoint.has_average:
        lines.append("It has no averaged networks: the average starts from the networks as trained")
    return lines


def _describe_domains(checkpoint: Checkpoint, names: Sequence[str], origins: Sequence[int | None]) -> str:
    """Which domains continue the checkpoint's, which start fresh, and which of the checkpoint's are left out."""
    before = checkpoint.domain_names
    continued = [name for name, origin in zip(names, origins, strict=True) if origin is not None]
    fresh = [name for name, origin in zip(names, origins, strict=True) if origin is None]
    left_out = [name for number, name in enumerate(before) if number not in origins]
    if checkpoint.layout == "official" and continued:
        pairs = ", ".join(f"{number} as {printable(name)}" for number, name in zip(before, names, strict=True))
        return f"Domains continued in order, because official checkpoints have no names: {pairs}"
    if checkpoint.layout == "official":
        return (
            f"Domains that start fresh, because the checkpoint has {len(before)} domains without names: "
            f"{in_words(names)}"
        )
    parts = {"continued": continued, "fresh": fresh, "left out": left_out}
    return "Domains " + "; ".join(f"{what}: {in_words(which)}" for what, which in parts.items() if which)


def _as_words(names: Iterable[str]) -> str:
    return ", ".join(name.replace("_", " ") for name in names)
