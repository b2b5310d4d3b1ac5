"""The weighted average of checkpoints' averaged networks, written as a snapshot.

    members = find_members([run], last=5, progress=print)
    mix = mix_members(members, weights=(1,) * 5)
    write_mix(Path("average.pt"), mix, members)

Averaging the snapshots at the end of a training often gives better images than the last one (Izmailov et al. 2018).
All networks that the family averages are mixed, not the generator alone, so that styles fit the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from starcast.errors import CheckpointError, OptionError, printable
from starcast.train.checkpoint.content import Checkpoint, StateDicts
from starcast.train.checkpoint.file import filled_networks, read_checkpoint, write_checkpoint
from starcast.train.checkpoint.members import Member
from starcast.train.families import family

Progress = Callable[[str], None]
Judge = Callable[[Any], float]  # the family's NetworkSet, ready for use -> how good it is; more is better


@dataclass
class Mix:
    """A running weighted sum of state dicts in float64.

    Integers, and values that training never changes, come from the last checkpoint added.
    """

    constants: tuple[str, ...]  # prefixes of their names, from the family
    weight: float = 0.0
    sums: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    differing: set[str] = field(default_factory=set)  # constants that are not the same in all

    def add(self, states: StateDicts, weight: float) -> Mix:
        """Add a checkpoint's networks, in place; returns itself."""
        for network, state in states.items():
            sums = self.sums.setdefault(network, {})
            for name, value in state.items():
                full = f"{network}.{name}"
                if not value.is_floating_point() or full.startswith(self.constants):
                    if name in sums and not torch.equal(sums[name], value):
                        self.differing.add(full)
                    sums[name] = value
                elif name in sums:
                    sums[name] += weight * value.double()
                else:
                    sums[name] = weight * value.double()
        self.weight += weight
        return self

    def copy(self) -> Mix:
        """A mix to which something can be added without changing this one."""
        sums = {network: {name: value.clone() for name, value in state.items()} for network, state in self.sums.items()}
        return Mix(self.constants, self.weight, sums, set(self.differing))

    def states(self) -> StateDicts:
        """The average, in float32."""
        return {
            network: {
                name: (value / self.weight).float() if value.dtype == torch.float64 else value
                for name, value in state.items()
            }
            for network, state in self.sums.items()
        }


def shares_of(weights: Sequence[float], members: Sequence[Member]) -> tuple[float, ...]:
    """A weight for each member; by default all equal. Raises OptionError if their number or a value is wrong."""
    if not weights:
        return (1.0,) * len(members)
    if len(weights) != len(members):
        named = ", ".join(printable(member.path.name) for member in members)
        raise OptionError(f"--weights has {len(weights)} numbers for {len(members)} checkpoints: give one for {named}")
    if not all(0 <= weight < float("inf") for weight in weights) or not sum(weights) > 0:
        raise OptionError("--weights has a number below 0, or none above: give shares such as 1,1,2")
    return tuple(float(weight) for weight in weights)


def mix_members(members: Sequence[Member], weights: Sequence[float], progress: Progress) -> Mix:
    """The weighted average of the members. One checkpoint is in memory at a time."""
    mix = Mix(constants_of(members[0].family))
    for member, weight in zip(members, weights, strict=True):
        mix.add(read_again(member).averaged, weight)
    _tell_differing(mix, members[-1], progress)
    return mix


@dataclass(frozen=True)
class Choice:
    """What `choose_greedily` kept: members with their weights, their mix, its score, and every member's own."""

    members: list[Member]
    weights: list[float]
    mix: Mix
    score: float
    scores: dict[Path, float]

    @property
    def best(self) -> float:
        """The score of the best member alone."""
        return max(self.scores.values())


def choose_greedily(
    members: Sequence[Member], weights: Sequence[float], judge: Judge, progress: Progress
) -> Choice:  # fmt: skip
    """Start from the best member; keep another one only if the mix gets better with it (Wortsman et al. 2022)."""
    scores = {}
    for member in members:
        scores[member.path] = judge(networks_of(member, read_again(member).averaged))
        progress(f"{printable(member.path.name)} alone: {scores[member.path]:.4f}")
    ranked = sorted(zip(members, weights, strict=True), key=lambda pair: scores[pair[0].path], reverse=True)
    (best, weight), *others = [pair for pair in ranked if pair[1] > 0]
    kept, score = {best.path: weight}, scores[best.path]
    mix = Mix(constants_of(best.family)).add(read_again(best).averaged, weight)
    for member, weight in others:
        tried = mix.copy().add(read_again(member).averaged, weight)
        better = judge(networks_of(member, tried.states()))
        verdict = "kept" if better > score else "not kept"
        progress(f"The average with {printable(member.path.name)}: {better:.4f} instead of {score:.4f}, {verdict}")
        if better > score:
            mix, score = tried, better
            kept[member.path] = weight
    chosen = [member for member in members if member.path in kept]
    shares = [kept[member.path] for member in chosen]
    return Choice(
        chosen, shares, mix_members(chosen, shares, progress), score, scores
    )  # the constants are the newest's


def networks_of(member: Member, states: StateDicts, *, whole: bool = True) -> Any:
    """The networks of the member's sizes with these values: see `filled_networks`. Raises CheckpointError."""
    return filled_networks(states, member.family, member.config, member.path, whole=whole)


def constants_of(name: str) -> tuple[str, ...]:
    """Prefixes of the names that a family does not average: constants, and networks that no step changes."""
    kind = family(name)
    return (*kind.constants, *(f"{network}." for network in kind.fixed))


def read_again(member: Member) -> Checkpoint:
    """A member's checkpoint. Raises CheckpointError if it has changed since it was found."""
    checkpoint = read_checkpoint(member.path)
    if {f"{network}.{name}": value.shape for network, state in checkpoint.averaged.items() for name, value in
            state.items()} != member.shapes:  # fmt: skip
        raise CheckpointError(f"{printable(member.path)} has changed in the meantime: start again")
    return checkpoint


def write_mix(target: Path, mix: Mix, members: Sequence[Member], weights: Sequence[float], **facts: Any) -> None:
    """Write the average as a snapshot that records its members with their weights; `facts` are added to each record.

    Names, options and data set are those of the newest member; of our own, if there is one. Raises OSError.
    """
    named = next((member for member in reversed(members) if member.layout != "official"), members[-1])
    checkpoint = read_again(named)
    steps = [member.step for member in members if member.step is not None]
    total = sum(weights)
    write_checkpoint(
        target,
        config=named.config,
        domain_names=named.domain_names,
        step=max(steps, default=0),
        averaged=networks_of(named, mix.states(), whole=False),
        options=checkpoint.options,
        dataset=checkpoint.dataset,
        members=[
            {**member.record, "weight": weight / total, **{name: values[member.path] for name, values in facts.items()}}
            for member, weight in zip(members, weights, strict=True)
        ],
    )


def _tell_differing(mix: Mix, last: Member, progress: Progress) -> None:
    if mix.differing:
        first, *others = sorted(mix.differing)
        more = f" and {len(others)} more" if others else ""
        progress(f"Constants that differ are not averaged, but taken from {printable(last.path)}: {first}{more}")
