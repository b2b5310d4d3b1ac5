"""Expand what a user names (files, folders, patterns and list files) into one ordered list of images.

photo.jpg           that file, whatever its name
photos/             every image in it and its subfolders, by name; hidden ones (a leading dot) are skipped
'photos/**/*.jpg'   a pattern, for shells that do not expand it
list.txt            one source per line, relative to the list; blank lines and lines that begin with # are skipped
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from starcast.errors import printable, reason_of
from starcast.images import formats

LIST_SUFFIX = ".txt"
LIST_BYTES = 64 * 2**20  # half a million long paths; a larger file is not a list


@dataclass(frozen=True)
class SourceFile:
    """An image to read. `relative` is its path below the output folder, with the source's suffix."""

    path: Path
    relative: PurePath


@dataclass
class FoundSources:
    """What `find_sources` found, in order: images, problems (a sentence each), and other files in the folders."""

    sources: list[SourceFile] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)


def find_sources(arguments: Iterable[Path], *, leave_out: Path | None = None) -> FoundSources:
    """The images that `arguments` name, each once. Searching a folder skips the folder `leave_out`.

    A file named by itself always counts as a source, so a file that cannot be read is reported rather than skipped.
    """
    found = FoundSources()
    seen: set[str] = set()
    without = None if leave_out is None else _identity(leave_out)
    for argument in arguments:
        for source in _expand(Path(argument), found, without, lists=True):
            absolute = os.path.normcase(os.path.abspath(source.path))  # noqa: PTH100  two links to one file are two sources
            if absolute not in seen:
                seen.add(absolute)
                found.sources.append(source)
    return found


def _expand(
    argument: Path, found: FoundSources, without: tuple[int, int] | None, *, lists: bool, base: Path | None = None
) -> Iterator[SourceFile]:
    """The sources that a path names. `base`: the folder that `relative` paths start from; None: `argument` itself."""
    if _is_folder(argument):
        root = argument if base is None else base
        yield from _in_folder(argument, root, found, without, set())
    elif lists and argument.suffix.lower() == LIST_SUFFIX and argument.is_file():
        yield from _in_list(argument, found, without)
    elif not os.path.lexists(argument) and glob.has_magic(str(argument)):
        yield from _in_pattern(argument, found, without)
    else:
        yield SourceFile(argument, _below(argument, base))


def _in_folder(
    folder: Path, root: Path, found: FoundSources, without: tuple[int, int] | None, entered: set[tuple[int, int]]
) -> Iterator[SourceFile]:
    identity = _identity(folder)
    if identity is None or identity == without or identity in entered:  # entered: a link that leads back up
        return
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except OSError as error:
        found.problems.append(
            f"{printable(folder)} cannot be searched ({reason_of(error)}): change its permissions, or leave it out"
        )
        return
    inside = {*entered, identity}
    for name in names:
        path = folder / name
        if name.startswith("."):
            continue
        if _is_folder(path):
            yield from _in_folder(path, root, found, without, inside)
        elif _looks_like_image(path):
            yield SourceFile(path, _below(path, root))
        else:
            found.others.append(path)


def _in_list(path: Path, found: FoundSources, without: tuple[int, int] | None) -> Iterator[SourceFile]:
    try:
        if path.stat().st_size > LIST_BYTES:
            raise OSError(f"more than {LIST_BYTES} bytes")
        lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").split("\n")
    except OSError as error:
        found.problems.append(
            f"{printable(path)} cannot be read as a list ({reason_of(error)}): write one path per line"
        )
        return
    if any("\0" in line for line in lines):
        found.problems.append(f"{printable(path)} is not a list of paths: write one path per line, in UTF-8")
        return
    for line in lines:
        entry = line.strip()
        if entry and not entry.startswith("#"):
            yield from _expand(path.parent / entry, found, without, lists=False, base=path.parent)


def _in_pattern(pattern: Path, found: FoundSources, without: tuple[int, int] | None) -> Iterator[SourceFile]:
    root = Path(*_parts_before_magic(pattern.parts))
    matches = [Path(match) for match in sorted(glob.glob(str(pattern), recursive=True))]  # noqa: PTH207  like a shell
    if not matches:
        found.problems.append(f"{printable(pattern)} matches nothing: check the pattern")
    folders = [match for match in matches if _is_folder(match)]
    for match in matches:
        if match in folders and "**" in pattern.parts:
            continue  # the pattern also matches its files
        if match in folders:
            yield from _in_folder(match, root, found, without, set())
        elif without is None or without not in map(_identity, match.parents):
            if _looks_like_image(match):
                yield SourceFile(match, _below(match, root))
            else:
                found.others.append(match)


def _parts_before_magic(parts: tuple[str, ...]) -> Iterator[str]:
    for part in parts[:-1]:
        if glob.has_magic(part):
            return
        yield part


def _below(path: Path, base: Path | None) -> PurePath:
    """The path relative to `base` if it lies below it, else its name."""
    if base is not None and path.is_relative_to(base):
        relative = path.relative_to(base)
        if ".." not in relative.parts:
            return relative
    return PurePath(path.name or "image")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # the name is too long, or has a null character: reported when read
        return False


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino


def _looks_like_image(path: Path) -> bool:
    """Whether a file is an image, by its name; only if the name does not say, by its first bytes."""
    return formats.has_image_suffix(path.suffix) or formats.looks_like_image(_head(path))


def _head(path: Path) -> bytes:
    """The first bytes of a regular file; b"" for anything else, which must not be opened."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return b""
        with path.open("rb") as file:
            return file.read(formats.HEAD_BYTES)
    except OSError:
        return b""
