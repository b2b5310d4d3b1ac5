"""Where each translation goes, and what is already there.

    one style        OUT/<place below the source folder>.png
    several styles   OUT/<style>/<place below the source folder>.png
    OUT an image     that file, for one source and one style

Sources that would share a name (`a.jpg` and `a.png`) keep their suffix in it (`a.jpg.png`). If that is not enough (two
folders that hold the same name), the later ones are numbered in the order of the sources.
"""

from __future__ import annotations

import enum
import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath

from starcast.errors import ImageError, OptionError, printable
from starcast.images.read import read_stored
from starcast.images.write import WRITTEN_SUFFIXES
from starcast.runtime.folder.sources import SourceFile

NAME_BYTES = 255  # what Linux, macOS and Windows allow for one name
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2")


class State(enum.Enum):
    """What exists at the path of a translation."""

    ABSENT = "nothing"
    DONE = "the same translation, whole"
    DAMAGED = "something that is not a whole image"
    OTHER = "a whole image made from another source, with other options, or by another program"


def is_one_file(output: Path, sources: int, styles: int) -> bool:
    """Whether `output` names an image and not a folder. Raises OptionError if it cannot be written as either."""
    suffix = output.suffix.lower()
    if suffix not in _IMAGE_SUFFIXES or output.is_dir():
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


def output_paths(
    sources: Sequence[SourceFile], labels: Sequence[str], output: Path, suffix: str
) -> list[tuple[Path, ...]]:
    """For each source, the path of each style's translation below the folder `output`. No two paths are equal, even on
    file systems that ignore case or normalise accents."""
    stems = _distinct_stems([source.relative for source in sources], suffix)
    folders = [output / label for label in safe_names(labels)] if len(labels) > 1 else [output]
    return [tuple(folder / stem.with_name(stem.name + suffix) for folder in folders) for stem in stems]


def safe_names(labels: Sequence[str]) -> list[str]:
    """Distinct names for folders that every file system accepts."""
    names: list[str] = []
    taken: set[str] = set()
    for label in labels:
        name = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]', "_", label).strip(". ") or "style"
        names.append(_number(_shorten(name, NAME_BYTES - 8), taken))
    return names


def state_of(path: Path, mark: str, size: tuple[int, int] | None) -> State:
    """The state of `path`, which should hold a translation with this mark and size (height, width; None: any)."""
    if not os.path.lexists(path):
        return State.ABSENT
    try:
        there = read_stored(path)
    except ImageError:
        return State.DAMAGED
    return State.DONE if there.mark == mark and size in (None, there.pixels.shape[:2]) else State.OTHER


def refuse_source_folder(sources: Sequence[Path], output: Path) -> None:
    """Raise OptionError if translations would land among the sources of a folder."""
    if any(os.path.realpath(source) == os.path.realpath(output) and source.is_dir() for source in sources):
        raise OptionError(f"{printable(output)} is a source as well as the output: choose another folder with -o")


def refuse_to_overwrite_sources(sources: Sequence[SourceFile], paths: Sequence[tuple[Path, ...]]) -> None:
    """Raise OptionError if a translation would replace a source."""
    originals = {os.path.realpath(source.path) for source in sources}
    for path in (path for group in paths for path in group):
        if os.path.realpath(path) in originals:
            raise OptionError(f"{printable(path)} is a source and would be overwritten: choose another folder with -o")


def _distinct_stems(places: Sequence[PurePath], suffix: str) -> list[PurePath]:
    """Each place without its suffix; with it where names clash; numbered where they still do."""
    room = NAME_BYTES - len(suffix) - 8
    short = [place.with_name(_shorten(_stem(place), room)) for place in places]
    shared = Counter(_fold(place) for place in short)
    taken: set[str] = set()
    stems: list[PurePath] = []
    for place, stem in zip(places, short, strict=True):
        wanted = stem if shared[_fold(stem)] == 1 else place.with_name(_shorten(place.name, room))
        folder = "" if wanted.parent == PurePath() else f"{wanted.parent}/"
        stems.append(wanted.with_name(_number(wanted.name, taken, folder)))
    return stems


def _stem(place: PurePath) -> str:
    """The name without its suffix. Where only dots would remain, which mean a folder, dots become underscores."""
    return place.stem if place.stem.strip(".") else place.name.replace(".", "_")


def _number(name: str, taken: set[str], folder: str = "") -> str:
    candidate, number = name, 1
    while _fold(folder + candidate) in taken:
        number += 1
        candidate = f"{name}-{number}"
    taken.add(_fold(folder + candidate))
    return candidate


def _fold(place: PurePath | str) -> str:
    return unicodedata.normalize("NFC", str(place)).casefold()


def _shorten(name: str, room: int) -> str:
    """A name of at most `room` bytes; one that is cut ends in eight digits of its hash."""
    content = os.fsencode(name)
    if len(content) <= room:
        return name
    kept = name
    while len(os.fsencode(kept)) > room - 9:
        kept = kept[:-1]
    return f"{kept}-{hashlib.sha256(content).hexdigest()[:8]}"
