"""Which name each translation gets.

    one style        OUT/<place below the source folder>.png
    several styles   OUT/<style>/<place below the source folder>.png

Sources that would share a name (`a.jpg` and `a.png`) keep their suffix in it (`a.jpg.png`), and so does a source whose
translation would have the name of a folder (`x.jpg` beside a folder `x.png`). If that is not enough (two folders that
hold the same name), the later ones are numbered in the order of the sources.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath

from starcast.runtime.folder.sources import SourceFile
from starcast.runtime.record import RECORD

NAME_BYTES = 255  # what Linux, macOS and Windows allow for one name


def output_paths(
    sources: Sequence[SourceFile], labels: Sequence[str], output: Path, suffix: str
) -> list[tuple[Path, ...]]:
    """For each source, the path of each style's translation below the folder `output`. No two paths are equal, and none
    is a folder of another, even on file systems that ignore case or normalise accents."""
    places = [source.relative for source in sources]
    if len(labels) > 1:
        folders = [output / label for label in safe_names(labels)]
    else:
        folders, places = [output], [_beside_the_record(place) for place in places]
    stems = _distinct_stems(places, suffix)
    return [tuple(folder / stem.with_name(stem.name + suffix) for folder in folders) for stem in stems]


def safe_names(labels: Sequence[str]) -> list[str]:
    """Distinct names for folders that every file system accepts."""
    names: list[str] = []
    taken = {_fold(RECORD)}
    for label in labels:
        name = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]', "_", label).strip(". ") or "style"
        names.append(_number(_shorten(name, NAME_BYTES - 8), taken))
    return names


def _beside_the_record(place: PurePath) -> PurePath:
    """The place, unless its first folder has the name of the record: then with that folder numbered."""
    first, *rest = place.parts
    return PurePath(f"{first}-2", *rest) if rest and _fold(first) == _fold(RECORD) else place


def _distinct_stems(places: Sequence[PurePath], suffix: str) -> list[PurePath]:
    """Each place without its suffix; with it where names clash; numbered where they still do."""
    room = NAME_BYTES - len(suffix) - 8
    short = [place.with_name(_shorten(_stem(place), room)) for place in places]
    shared = Counter(_fold(place) for place in short)
    taken = {_fold(folder) for place in places for folder in place.parents[:-1]}
    stems: list[PurePath] = []
    for place, stem in zip(places, short, strict=True):
        is_free = shared[_fold(stem)] == 1 and _fold(f"{stem}{suffix}") not in taken
        wanted = stem if is_free else place.with_name(_shorten(place.name, room))
        folder = "" if wanted.parent == PurePath() else f"{wanted.parent}/"
        stems.append(wanted.with_name(_number(wanted.name, taken, folder, suffix)))
    return stems


def _stem(place: PurePath) -> str:
    """The name without its suffix. Where only dots would remain, which mean a folder, dots become underscores."""
    return place.stem if place.stem.strip(".") else place.name.replace(".", "_")


def _number(name: str, taken: set[str], folder: str = "", suffix: str = "") -> str:
    candidate, number = name, 1
    while _fold(f"{folder}{candidate}{suffix}") in taken:
        number += 1
        candidate = f"{name}-{number}"
    taken.add(_fold(f"{folder}{candidate}{suffix}"))
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
