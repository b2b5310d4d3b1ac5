"""The checkpoints that an average is made of: which ones a folder stands for, and whether they belong together.

What a file holds decides, never its name: where there are averaged networks, files of networks as trained are left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from starcast.errors import CheckpointError, OptionError, printable
from starcast.train.checkpoint.content import Checkpoint, StateDicts
from starcast.train.checkpoint.file import read_checkpoint, record_of
from starcast.train.checkpoint.folder import all_checkpoints
from starcast.train.families import family
from starcast.train.families.base import Config

Progress = Callable[[str], None]
Shapes = dict[str, torch.Size]


@dataclass(frozen=True, kw_only=True)
class Member:
    """What is known of a checkpoint without its weights, which are read again when they are needed.

    `shapes` are those of its averaged networks, and `digest` is the SHA-256 of their values.
    """

    path: Path
    layout: str
    family: str
    config: Config
    domain_names: tuple[str, ...]
    step: int | None
    has_average: bool
    shapes: Shapes
    digest: str
    record: dict[str, Any]

    @property
    def label(self) -> str:
        """A short name for a sheet's caption and for progress."""
        return self.path.stem.removesuffix(".snapshot") if self.step is None else f"step {self.step:,}"


def find_members(sources: Sequence[Path], last: int | None, progress: Progress) -> list[Member]:
    """The checkpoints to average: those of each folder, oldest first, and the files as given.

    With `last`, only that many: the newest of each folder, and the last of the files. `progress` gets a line about each
    that is left out. Raises CheckpointError for a file that cannot be read or does not fit the others, and OptionError
    if fewer than two are left.
    """
    groups: dict[Path | None, list[Path]] = {}  # None: of the files
    for source in sources:
        paths = all_checkpoints(source) if source.is_dir() else [source]
        groups.setdefault(None if paths == [source] else source, []).extend(paths)
    members = [
        member for group in groups.values() for member in _newest([_read(path) for path in group], last, progress)
    ]
    members = _distinct(_averaged_alone(members, progress), progress)
    if len(members) < 2:
        what = f"{printable(members[0].path)} is the only one" if members else "there is none"
        raise OptionError(f"an average needs at least two checkpoints, and {what}: give more files, or a run's folder")
    newest = members[-1]
    for member in members:
        check_fits(member, newest)
    return members


def check_fits(member: Member, other: Member) -> None:
    """Raise CheckpointError unless both are of one family, of the same sizes and of the same domains."""
    here, there = printable(member.path), printable(other.path)
    if member.family != other.family:
        titles = family(member.family).title, family(other.family).title
        raise CheckpointError(f"{here} is a {titles[0]} checkpoint and {there} a {titles[1]} one: average one family")
    one, two = vars(member.config), vars(other.config)
    differing = [name for name in one if one[name] != two[name]]
    # official files do not tell every size, so between layouts only what their weights tell is compared
    if differing and (member.layout == other.layout or member.shapes != other.shapes):
        name = differing[0]
        raise CheckpointError(
            f"{here} has {name} {one[name]} and {there} has {two[name]}, so their networks differ: give checkpoints of "
            "the same sizes"
        )
    for name in member.shapes | other.shapes:
        if member.shapes.get(name) != other.shapes.get(name):
            raise CheckpointError(
                f"{here} has {name} of shape {_shape(member, name)} and {there} of {_shape(other, name)}: give "
                "checkpoints of the same sizes"
            )
    if member.layout == other.layout and member.domain_names != other.domain_names:
        raise CheckpointError(
            f"{here} has the domains {', '.join(map(printable, member.domain_names))} and {there} has "
            f"{', '.join(map(printable, other.domain_names))}: give checkpoints of the same domains"
        )


def _read(path: Path) -> Member:
    checkpoint = read_checkpoint(path)
    return Member(
        path=path,
        layout=checkpoint.layout,
        family=checkpoint.family,
        config=checkpoint.config,
        domain_names=checkpoint.domain_names,
        step=checkpoint.step,
        has_average=checkpoint.has_average,
        shapes=_shapes(checkpoint.averaged),
        digest=_digest(checkpoint),
        record=record_of(checkpoint),
    )


def _newest(members: list[Member], last: int | None, progress: Progress) -> list[Member]:
    """The newest `last` of a group, after those are left out that the average does not take."""
    if last is None:
        return members
    return _distinct(_averaged_alone(members, progress), progress)[-last:]


def _averaged_alone(members: list[Member], progress: Progress) -> list[Member]:
    """Those that hold averaged networks; all, if none does."""
    averaged = [member for member in members if member.has_average]
    if not averaged:
        if members:
            progress("None of these files holds averaged networks, so their networks as trained are averaged")
        return members
    for member in members:
        if not member.has_average:
            progress(f"Left out, no averaged networks: {printable(member.path)}")
    return averaged


def _distinct(members: list[Member], progress: Progress) -> list[Member]:
    """Each set of weights once: a file may be given twice, or a step have two files."""
    seen: dict[str, Member] = {}
    for member in members:
        same = seen.setdefault(member.digest, member)
        if same is not member:
            progress(f"Left out, same weights as {printable(same.path)}: {printable(member.path)}")
    return list(seen.values())


def _shapes(states: StateDicts) -> Shapes:
    return {f"{network}.{name}": value.shape for network, state in states.items() for name, value in state.items()}


def _shape(member: Member, name: str) -> object:
    shape = member.shapes.get(name)
    return "none" if shape is None else tuple(shape)


def _digest(checkpoint: Checkpoint) -> str:
    """The SHA-256 of the averaged networks' values, whatever the layout of the file."""
    digest = hashlib.sha256()
    for network, state in sorted(checkpoint.averaged.items()):
        for name, value in sorted(state.items()):
            digest.update(f"{network}.{name} {tuple(value.shape)}\n".encode())
            digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()
