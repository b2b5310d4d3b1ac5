"""`starcast average`: what the command does. Here, and not in train/, because --greedy needs judges of quality."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from starcast.benchmarks.options import AverageOptions
from starcast.benchmarks.quality.judges import choose_judge
from starcast.command_line import command_line, path_argument
from starcast.errors import OptionError, StarcastError, printable
from starcast.hold import hold
from starcast.occupied import OVERWRITE, already
from starcast.train.checkpoint.average import (
    Mix,
    choose_greedily,
    mix_members,
    networks_of,
    read_again,
    shares_of,
    write_mix,
)
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.checkpoint.members import Member, find_members
from starcast.train.member_grids import grid_inputs, grids_of, known_data, remove_sheets, write_sheets
from starcast.train.terminal import print_line, standard_error


def average_checkpoints(sources: Sequence[Path], target: Path, options: AverageOptions) -> Path:
    """Write the average of checkpoints as a snapshot, and sheets of sample grids beside it; returns its path.

    Raises OptionError, CheckpointError and DatasetError. An error leaves the target unchanged.
    """
    with hold(target):
        members = find_members(sources, options.last, print_line)
        weights: Sequence[float] = shares_of(options.weights, members)
        _refuse_target(target, members, options)
        newest = read_again(members[-1])
        data = options.data or known_data(newest)
        facts: dict[str, Any] = {}
        if options.greedy:
            if data is None:
                raise OptionError("--greedy needs held-out images: give --data, a folder with the same domains")
            judge = choose_judge(data, newest, print_line, options.lpips_weights, download=options.download)
            choice = choose_greedily(members, weights, judge, print_line)
            members, weights, mix = choice.members, choice.weights, choice.mix
            facts["score"] = choice.scores
            if len(members) == 1:
                print_line(
                    f"No average is better than {printable(members[0].path)} alone, which scores {choice.best:.4f}"
                )
            else:
                print_line(f"The average of {len(members)} scores {choice.score:.4f}, the best alone {choice.best:.4f}")
        else:
            mix = mix_members(members, weights, print_line)
        grids = _draw(members, mix, newest, data, options)
        write_mix(target, mix, members, weights, **facts)
        sheets = write_sheets(target, grids) if grids else []
        for path in sheets:
            print_line(f"Every checkpoint and the average, side by side: {printable(path)}")
        for path in remove_sheets(target, kept=sheets):
            print_line(f"Removed, because it shows the average that was replaced: {printable(path)}")
    for member, weight in zip(members, weights, strict=True):
        print_line(f"{weight / sum(weights):7.2%}  {printable(member.path)}")
    print_line(f"Next: {command_line('starcast', 'export', path_argument(target), '-o', 'BUNDLE')}")
    return target


def _refuse_target(target: Path, members: Sequence[Member], options: AverageOptions) -> None:
    if target.resolve() in [member.path.resolve() for member in members]:
        raise OptionError(f"{printable(target)} is one of the checkpoints to average: choose another -o")
    if options.overwrite:
        return
    taken = [target, *target.parent.glob(f"{glob.escape(target.stem)}-*.jpg")]
    existing = next((path for path in taken if path.exists() or path.is_symlink()), None)
    if existing is not None:
        raise OptionError(already(existing, "exists", OVERWRITE))


def _draw(
    members: Sequence[Member], mix: Mix, newest: Checkpoint, data: Path | None, options: AverageOptions
) -> dict[str, dict[str, Any]]:
    """The sample grids of each member and of the mix, by caption and kind; without images none, and a line says so."""
    if not options.sheets:
        return {}
    if data is None:
        print_line("No sheets, because the training data is not here: name a folder of images with --data")
        return {}
    try:
        inputs = grid_inputs(newest, data)
        networks_of(members[-1], mix.states())  # raises if a network that no step changes is missing
    except StarcastError as error:
        if options.data is not None:
            raise
        print_line(f"No sheets: {error}")
        return {}
    grids: dict[str, dict[str, Any]] = {}
    with tqdm(total=len(members) + 1, unit="grid", desc="Drawing", leave=False, file=standard_error()) as bar:
        for number, member in enumerate(members, start=1):
            caption = f"{member.label} ({number})" if member.label in grids else member.label
            grids[caption] = grids_of(newest, networks_of(member, read_again(member).averaged), inputs)
            bar.update()
        grids[f"average of {len(members)}"] = grids_of(newest, networks_of(members[-1], mix.states()), inputs)
        bar.update()
    return grids
