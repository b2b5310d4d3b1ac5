"""What is at the place of a translation, and whether it may be written there.

Without --overwrite, a translation goes only to an unused path, or over a file that a starcast command itself has put
there. Its mark says so (`marks`). Anything else is the user's, whether it can be read or not.
"""

from __future__ import annotations

import enum
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from starcast.errors import ImageError, OptionError, printable
from starcast.images import formats
from starcast.images.mark import read_mark
from starcast.images.read import read_stored
from starcast.images.write import WRITTEN_SUFFIXES
from starcast.runtime.bundle import refuse_to_write_into
from starcast.runtime.encoding import CONTAINERS
from starcast.runtime.faces.options import AlignOptions
from starcast.runtime.folder.sources import SourceFile
from starcast.runtime.marks import Origin, parse_mark
from starcast.runtime.options import TranslateOptions

FILM_SUFFIXES = (*CONTAINERS, ".avi")


class State(enum.Enum):
    """What is at the path of a translation."""

    ABSENT = "nothing"
    DONE = "the translation, whole"
    DAMAGED = "the translation, damaged or cut short"
    STALE = "a translation of the same file, which was edited since"
    OTHER = "a translation from another source or with other options"
    FOREIGN = "something that starcast did not write"


def is_one_file(output: Path, sources: int, styles: int) -> bool:
    """Whether `output` names an image and not a folder. Raises OptionError if it can be written as neither, or is in a
    bundle."""
    suffix = output.suffix.lower()
    refuse_to_write_into(output)
    if not (formats.has_image_suffix(suffix) or suffix in FILM_SUFFIXES) or output.is_dir():
        if output.exists() and not output.is_dir():
            raise OptionError(f"{printable(output)} is a file: give -o a folder, or the name of an image")
        return False
    if suffix not in WRITTEN_SUFFIXES:
        raise OptionError(f"{printable(output)} cannot be written: end it in {', '.join(WRITTEN_SUFFIXES)}")
    if sources * styles > 1:
        raise OptionError(
            f"{printable(output)} is one image, but {sources * styles} would be written: give -o the name of a folder"
        )
    return True


def refuse_unused_options(options: TranslateOptions | AlignOptions, suffix: str) -> None:
    """Raise OptionError if images with this suffix cannot have what the options ask for."""
    refuse_unused_quality(options.quality, suffix)
    if options.keep_alpha and suffix.lower() in (".jpg", ".jpeg"):
        raise OptionError("--keep-alpha needs PNG or WebP, because a JPEG cannot be transparent: choose one of these")


def refuse_unused_quality(quality: int | None, suffix: str) -> None:
    """Raise OptionError if images with this suffix have no quality to set."""
    if quality is not None and suffix.lower() == ".png":
        raise OptionError(
            "--quality is for JPEG and WebP, and PNG is lossless: leave it out, or give --format jpg or webp"
        )


def state_of(path: Path, settings: str, origin: Origin | None, size: tuple[int, int] | None) -> State:
    """The state of `path`, which should hold the translation of `origin` with these settings (as in its mark) and size
    (height, width; None: any). `origin` is None for what is made without a source."""
    if not os.path.lexists(path):
        return State.ABSENT
    mark = parse_mark(read_mark(path))
    if mark is None:
        return State.FOREIGN
    if mark.settings != settings:
        return State.OTHER
    if origin is not None and not origin.matches(mark):
        return State.STALE if origin.was_edited_since(mark) else State.OTHER
    try:
        there = read_stored(path)
    except ImageError:
        return State.FOREIGN if path.is_symlink() else State.DAMAGED
    return State.DONE if size in (None, there.pixels.shape[:2]) else State.OTHER


def obstacle_at(path: Path) -> str | None:
    """What is in the way at `path` that not even --overwrite replaces, as a clause; None if nothing is."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        nearest = next((folder for folder in path.parents if os.path.lexists(folder)), path)
        return None if nearest == path or nearest.is_dir() else f"{printable(nearest)} is not a folder"
    except (OSError, ValueError):  # writing reports anything else that is wrong there
        return None
    if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
        return None
    return "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"


def refuse_source_folder(sources: Sequence[Path], output: Path) -> None:
    """Raise OptionError if translations would land among the sources of a folder."""
    if any(_is_same(source, output) and source.is_dir() for source in sources):
        raise OptionError(f"{printable(output)} is a source as well as the output: choose another folder with -o")


def refuse_to_overwrite_sources(
    sources: Sequence[SourceFile], paths: Sequence[tuple[Path, ...]], references: Iterable[Path] = ()
) -> None:
    """Raise OptionError if a translation would replace a source or a reference."""
    originals = {os.path.realpath(source.path) for source in sources}
    pictures = {os.path.realpath(reference) for reference in references}
    identities = {_identity(Path(path)) for path in originals | pictures} - {None}
    for path in (path for group in paths for path in group):
        if os.path.realpath(path) in originals | pictures or _identity(path) in identities:
            what = "a reference" if os.path.realpath(path) in pictures - originals else "a source"
            raise OptionError(f"{printable(path)} is {what} and would be overwritten: choose another folder with -o")


def _is_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other) or _identity(one) == _identity(other) is not None


def _identity(path: Path) -> tuple[int, int] | None:
    """Equal for two names of one file, also where the file system ignores case; None if there is no file."""
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return None
    return (facts.st_dev, facts.st_ino) if facts.st_ino else None
