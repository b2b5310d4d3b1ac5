"""Match a pattern as a shell does, but take a part literally wherever something has that name.

`photos [2020]/*.jpg` means the folder of that name, not the folders `photos 2` and `photos 0`.
"""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from starcast.runtime.folder.lists import exists

_MOST_BRACKETS = 6  # parts with brackets that are tried in both readings


def is_pattern(path: Path) -> bool:
    """Whether a path that does not exist is a pattern."""
    return glob.has_magic(str(path)) and not exists(path)


def match_pattern(pattern: Path) -> tuple[Path, list[Path]]:
    """(the fixed folder that a pattern begins with, what the pattern matches, sorted)."""
    root, parts = _fixed_part(pattern)
    start = glob.escape(str(root))
    for reading in _readings(parts):
        matches = glob.glob(os.path.join(start, *reading), recursive=True)  # noqa: PTH118, PTH207  like a shell
        if matches:
            return root, [Path(match) for match in sorted(matches)]
    return root, []


def _fixed_part(pattern: Path) -> tuple[Path, tuple[str, ...]]:
    """The longest part of a pattern that exists as it is written, and the parts after it."""
    root, parts = Path(), pattern.parts
    for number, part in enumerate(parts):
        if not exists(root / part):
            return root, parts[number:]
        root = root / part
    return root, ()


def _readings(parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The parts with their brackets taken as letters or as sets of letters, the most literal reading first."""
    brackets = [number for number, part in enumerate(parts) if "[" in part][:_MOST_BRACKETS]
    choices = sorted(itertools.product((True, False), repeat=len(brackets)), key=sum, reverse=True)
    for choice in choices:
        literal = {number for number, is_literal in zip(brackets, choice, strict=True) if is_literal}
        yield tuple(part.replace("[", "[[]") if number in literal else part for number, part in enumerate(parts))
