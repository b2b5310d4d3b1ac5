"""Where a video goes, checked before anything is opened."""

from __future__ import annotations

import os
from pathlib import Path

from starcast.errors import OptionError, printable

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}  # suffix -> FFmpeg's name


def container_of(path: Path) -> str:
    """FFmpeg's name of the container for a file's suffix. Raises OptionError."""
    try:
        return CONTAINERS[path.suffix.lower()]
    except KeyError:
        raise OptionError(f"{printable(path)} cannot be written: end its name in {', '.join(CONTAINERS)}") from None


def check_target(target: Path, source: Path, *, overwrite: bool) -> None:
    """Raises OptionError if a video made from `source` cannot go to `target`."""
    container_of(target)
    if target.is_dir():
        raise OptionError(f"{printable(target)} is a folder: give -o the name of a file")
    if os.path.lexists(target):
        if os.path.realpath(target) == os.path.realpath(source) or (source.exists() and target.exists()
                                                                     and target.samefile(source)):  # fmt: skip
            raise OptionError(f"{printable(target)} is the source itself: choose another -o")
        if not overwrite:
            raise OptionError(f"{printable(target)} exists already: choose another -o, or give --overwrite")
    parent = target.resolve().parent
    existing = next((folder for folder in (parent, *parent.parents) if folder.exists()), parent)
    if not existing.is_dir():
        raise OptionError(f"{printable(existing)} is a file, so {printable(target)} cannot be in it: choose another -o")
