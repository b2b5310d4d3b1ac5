"""The file of `--statistics`: one entry a film, the newest last. A film that is made again replaces its entry.

A file that holds anything else is never replaced.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starcast.atomic import write_text
from starcast.errors import OptionError, printable, reason_of
from starcast.runtime.record import record_beside
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.statistics import render, statistics_of

KIND = "starcast video statistics"
_LARGEST_BYTES = 2**26
_KEPT_FILMS = 1000
_ANOTHER = "give --statistics another file"


def check_statistics(path: Path | None, target: Path, source: Path | None) -> None:
    """Raise OptionError if statistics may not be written to `path`, before the work."""
    if path is None:
        return
    taken = {"the video": target, "the video's record": record_beside(target)}
    if source is not None:
        taken["the source"] = source
    for what, other in taken.items():
        if os.path.realpath(path) == os.path.realpath(other):
            raise OptionError(f"--statistics {printable(path)} is {what}: {_ANOTHER}")
    try:
        content = _load(path)
    except (OSError, ValueError) as error:  # ValueError: a null character, or no JSON
        raise OptionError(f"--statistics {printable(path)} cannot be used ({_reason(error)}): {_ANOTHER}") from error
    if content is not None and not _is_ours(content):
        raise OptionError(f"--statistics {printable(path)} holds something else already: {_ANOTHER}")


def tell_statistics(path: Path | None, report: FilmReport, progress: Callable[[str], None]) -> None:
    """Show the statistics of the film that was just written, and add them to the file at `path`. If that fails, the
    film stays, and the report says so. Does nothing without a path."""
    if path is None:
        return
    if report.is_there_already:
        progress(f"{printable(report.target)} was not made again, so it has no statistics")
        return
    statistics = statistics_of(report)
    for line in render(statistics):
        progress(line)
    name = str(report.target)
    try:
        content = _load(path)
        if content is not None and not _is_ours(content):
            raise OptionError("it holds something else by now")
        films = [film for film in content["films"] if film.get("film") != name] if content is not None else []
        films = [*films[1 - _KEPT_FILMS :], {"film": name, **statistics}]
        write_text(path, json.dumps({"kind": KIND, "films": films}, indent=2) + "\n")
    except (OSError, ValueError, OptionError) as error:
        report.failed.append(f"the statistics cannot be written to {printable(path)} ({_reason(error)})")
        progress(report.failed[-1])


def _load(path: Path) -> Any:
    """What the file at `path` holds; None if there is none. Raises OSError, and ValueError if it holds no JSON."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(facts.st_mode):
        raise ValueError("a folder")
    if not stat.S_ISREG(facts.st_mode):
        raise ValueError("a pipe, a socket or a device")
    if facts.st_size > _LARGEST_BYTES:
        raise ValueError("it holds something else")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError("it holds something else") from error


def _is_ours(content: Any) -> bool:
    if not isinstance(content, dict) or content.get("kind") != KIND:
        return False
    films = content.get("films")
    return isinstance(films, list) and all(isinstance(film, dict) for film in films)


def _reason(error: Exception) -> str:
    return reason_of(error) if isinstance(error, OSError) else str(error)
