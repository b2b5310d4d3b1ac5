"""Find the videos that a user names: files, folders, patterns and lists, as `translate` finds images.

Videos that starcast translated are left out of folders, and those that `align` cut out are not.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from starcast.images import formats
from starcast.runtime.folder.lists import LIST_SUFFIX
from starcast.runtime.folder.patterns import is_pattern
from starcast.runtime.folder.sources import FoundSources, Kind, find_sources, is_video
from starcast.runtime.record import read_runs, record_beside
from starcast.runtime.video.film_record import read_mark
from starcast.runtime.video.input.film_kinds import ANIMATED, SUFFIXES, is_animated
from starcast.runtime.video.input.sequence_files import is_sequence, name_of

_SOUND = frozenset({".ogg", ".oga", ".opus", ".m4a", ".m4b", ".mka", ".mp3", ".aac", ".wav", ".flac", ".aif", ".aiff"})


def find_films(arguments: Sequence[Path], *, leave_out: Path | None = None) -> FoundSources:
    """The videos that `arguments` name, each once; searching a folder skips the folder `leave_out`."""
    return find_sources(arguments, leave_out=leave_out, kind=VIDEOS)


def may_be_several(sources: Sequence[Path]) -> bool:
    """Whether sources may name more than one video, or one in a folder or a list."""
    return len(sources) != 1 or any(
        source.is_dir() or is_pattern(source) or (source.suffix.lower() == LIST_SUFFIX and source.is_file())
        for source in sources
    )


def _is_film(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return True
    if suffix in ANIMATED:
        return _is_regular(path) and is_animated(path)
    return suffix not in _SOUND and not formats.has_image_suffix(suffix) and is_video(path)


def _is_regular(path: Path) -> bool:
    """Whether a file can be looked into: a pipe would wait for ever."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _has_suffix(suffix: str) -> bool:
    return suffix.lower() in SUFFIXES


def _is_ours(path: Path, ours: bool, with_aligned: bool) -> bool:
    """Whether starcast translated a video. Images' records say nothing of the videos beside them, so `ours` does not
    count."""
    runs = read_runs(record_beside(path))
    if runs:
        return with_aligned or runs[-1].get("bundle") is not None
    return _is_regular(path) and read_mark(path) is not None


def _name_sequence(path: Path) -> str | None:
    return f"{name_of(path)}.png" if is_sequence(path) else None


VIDEOS = Kind("video", SUFFIXES, _is_film, _has_suffix, _is_ours, _name_sequence)
