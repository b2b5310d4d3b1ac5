"""The checkpoint that a folder stands for: a run's newest, or the newest of an official folder of checkpoints.

    RUN/checkpoints/step-005000.pt                  a run of ours, or its folder of checkpoints
    expr/checkpoints/afhq/100000_nets_ema.ckpt      an official folder, or one above it
    model/checkpoint_5000/                          a checkpoint of several files, or the folder of several of them
    stargan_celeba/models/200000-G.ckpt             a generator, with its discriminator in a file beside it
    checkpoint/550000.pt                            files named by their steps

A folder that holds several models is refused with their names. Opens no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from starcast.errors import CheckpointError, printable
from starcast.train.families import FAMILIES, family
from starcast.train.run_folder import RunFolder, every_step_of, newest_of

DEPTH = 2  # of folders searched for models: expr, checkpoints, afhq
MOST_NAMED = 6

_OFFICIAL = re.compile(
    r"(?:(?P<model>.+?)[_-])??(?:(?P<step>\d+)[_-])?(?:nets(?P<average>_ema)?|(?<=\d-)G)\.(?:ckpt|pt|pth)",
    re.IGNORECASE,
)
_OPTIMIZERS = re.compile(r".*optims?\.(?:ckpt|pt|pth)", re.IGNORECASE)
_SUFFIXES = (".ckpt", ".pt", ".pth")


@dataclass(frozen=True)
class CheckpointFiles:
    """The file to read, or the folder of a checkpoint that consists of several.

    `trained` is the official file beside it that holds the same step's networks as trained. `note` is a line about the
    choice, if the user named a folder.
    """

    path: Path
    trained: Path | None = None
    note: str | None = None


def choose_checkpoint(path: Path) -> CheckpointFiles:
    """The path itself if it is no folder, else the newest checkpoint in it. Raises CheckpointError."""
    if not path.is_dir():
        return CheckpointFiles(path)
    models = list(_models_in(path)) or list(_models_below(path, DEPTH)) or list(_single_files(path))
    if not models:
        what = "is an empty folder" if not any(_entries(path)) else "is a folder without checkpoints"
        raise CheckpointError(
            f"{printable(path)} {what}: give a checkpoint, a bundle or a run's folder, or an official folder with a "
            "*_nets_ema.ckpt in it"
        )
    if len(models) > 1:
        named = ", ".join(printable(model.path) for model in models[:MOST_NAMED])
        more = f" and {len(models) - MOST_NAMED} more" if len(models) > MOST_NAMED else ""
        raise CheckpointError(f"{printable(path)} holds {len(models)} models: give one of {named}{more}")
    return models[0]


def all_checkpoints(folder: Path) -> list[Path]:
    """Every checkpoint of the model that a folder holds, oldest first; of a run, one file for each step.

    A folder that is one checkpoint stands for itself. Which files hold averaged networks is for whoever opens them to
    see. Raises CheckpointError.
    """
    if _is_checkpoint_folder(folder):
        return [folder]
    places = [folder, *_folders_below(folder, DEPTH)]
    models = [files for place in places for files in _all_in(place)]
    if len(models) > 1:
        named = ", ".join(printable(files[-1]) for files in models[:MOST_NAMED])
        more = f" and {len(models) - MOST_NAMED} more" if len(models) > MOST_NAMED else ""
        raise CheckpointError(
            f"{printable(folder)} holds {len(models)} models: give the files of one of them; their newest are "
            f"{named}{more}"
        )
    loose = [file for file in _entries(folder) if _may_be_checkpoint(file)]
    files = models[0] if models else sorted(loose, key=_natural)
    if not files:
        raise CheckpointError(f"{printable(folder)} is a folder without checkpoints: give a run's folder, or files")
    return files


def _all_in(folder: Path) -> Iterator[list[Path]]:
    """The checkpoints of each model whose files lie in the folder, oldest first."""
    entries = _entries(folder)
    several = [entry for entry in entries if entry.is_dir() and _is_checkpoint_folder(entry)]
    if several:
        yield sorted(several, key=_natural)
    files = [entry for entry in entries if entry.is_file()]
    ours = RunFolder(folder).every_step() or every_step_of(files)
    if ours:
        yield ours
    matches = {file: match for file in files if (match := _OFFICIAL.fullmatch(file.name))}
    for model in sorted({match["model"] or "" for match in matches.values()}):
        yield sorted((file for file, match in matches.items() if (match["model"] or "") == model), key=_natural)


def _folders_below(folder: Path, depth: int) -> Iterator[Path]:
    """Folders in which a model may lie; none in a run, whose checkpoints are found from the run's folder."""
    if not depth or RunFolder(folder).every_step():
        return
    for entry in _entries(folder):
        if entry.is_dir() and not _is_checkpoint_folder(entry):
            yield entry
            yield from _folders_below(entry, depth - 1)


def _is_checkpoint_folder(folder: Path) -> bool:
    """Whether the folder is itself a checkpoint of several files."""
    return any(
        files and next(iter(files.values())).parent == folder
        for files in (family(name).checkpoint_files(folder) for name in FAMILIES)
    )


def _may_be_checkpoint(file: Path) -> bool:
    return file.suffix.lower() in _SUFFIXES and file.is_file() and not _OPTIMIZERS.fullmatch(file.name)


def _natural(path: Path) -> list[tuple[int, str]]:
    """A key that sorts names by the numbers in them: 9 before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def trained_beside(path: Path) -> Path | None:
    """The official file of networks as trained beside one of averaged networks, of the same step."""
    match = _OFFICIAL.fullmatch(path.name)
    if match is None or not match["average"]:
        return None
    beside = path.with_name(path.name[: match.start("average")] + path.name[match.end("average") :])
    return beside if beside.is_file() else None


def _models_in(folder: Path) -> Iterator[CheckpointFiles]:
    """The newest checkpoint of each model whose files lie in the folder: our run, and official ones by name."""
    files = [entry for entry in _entries(folder) if entry.is_file()]
    yield from _of_several_files(folder)
    newest = RunFolder(folder).newest() or newest_of(files)
    if newest is not None:
        yield CheckpointFiles(newest, note=f"{printable(folder)}: {printable(newest.name)} is the newest checkpoint")
    matches = {file: match for file in files if (match := _OFFICIAL.fullmatch(file.name))}
    for model in sorted({match["model"] or "" for match in matches.values()}):
        yield _newest_official({file: match for file, match in matches.items() if (match["model"] or "") == model})


def _newest_official(matches: dict[Path, re.Match[str]]) -> CheckpointFiles:
    """Of one model's files the newest averaged networks, or the newest networks as trained if there are no others."""
    averaged = {file: match for file, match in matches.items() if match["average"]}
    newest = max(averaged or matches, key=lambda file: (int(matches[file]["step"] or -1), file.name))
    others = len(averaged or matches) - 1
    what = f"the newest of {others + 1} checkpoints" if others else "its checkpoint"
    return CheckpointFiles(
        newest, trained_beside(newest), f"{printable(newest.parent)}: {printable(newest.name)} is {what}"
    )


def _models_below(folder: Path, depth: int) -> Iterator[CheckpointFiles]:
    for entry in _entries(folder) if depth else ():
        if entry.is_dir():
            yield from list(_models_in(entry)) or _models_below(entry, depth - 1)


def _of_several_files(folder: Path) -> Iterator[CheckpointFiles]:
    """The checkpoint that the folder is, or the newest such folder in it."""
    for name in FAMILIES:
        files = family(name).checkpoint_files(folder)
        if files:
            place = next(iter(files.values())).parent
            newest = f"{printable(folder)}: {printable(place.name)} is its newest checkpoint"
            yield CheckpointFiles(place, note=None if place == folder else newest)


def _single_files(folder: Path) -> Iterator[CheckpointFiles]:
    """Files whose names say no more than that torch wrote them, or at which step."""
    files = [file for file in _entries(folder) if _may_be_checkpoint(file)]
    if len(files) > 1 and all(file.stem.isdecimal() for file in files):
        newest = max(files, key=lambda file: int(file.stem))
        yield CheckpointFiles(
            newest, note=f"{printable(folder)}: {printable(newest.name)} is the newest of {len(files)} checkpoints"
        )
        return
    for file in files:
        yield CheckpointFiles(file, note=f"{printable(folder)}: {printable(file.name)} is its checkpoint")


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted and without hidden entries; nothing if it cannot be read."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:
        return []
