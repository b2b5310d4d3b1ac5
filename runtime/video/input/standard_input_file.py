"""The file that holds the video on standard input while it is translated.

Any video can be read from a file: an MP4 has its index at the end, times are checked against the whole film, and an
interrupted run starts at the beginning again. So standard input is read to its end first.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from starcast.errors import OptionError, VideoError, printable, reason_of
from starcast.leftovers import temporary_folder

_NAME = "starcast-standard-input"
_CHUNK = 2**20
_TOLD_EVERY = 2**30  # bytes
LEFT_FREE = 2**30  # bytes of the disk, which the translation needs as well


@contextmanager
def spooled(place: Path, progress: Callable[[str], None]) -> Iterator[Path]:
    """A file in the folder `place` with all of standard input, which is deleted at the end. Raises OptionError if the
    folder cannot be written to, VideoError if there is nothing to read, or too much for the disk."""
    with ExitStack() as stack:
        try:
            path = stack.enter_context(temporary_folder(place)) / _NAME
            _copy(path, progress)
        except OSError as error:
            raise OptionError(
                f"standard input cannot be kept in {printable(place)} ({reason_of(error)}): give another -o"
            ) from error
        yield path


def is_spooled(path: Path) -> bool:
    """Whether a source is standard input, kept in a file."""
    return path.name == _NAME


def _copy(path: Path, progress: Callable[[str], None]) -> None:
    size, told = 0, _TOLD_EVERY
    progress(f"standard input is read to its end first, into a temporary file in {printable(path.parent.parent)}")
    with path.open("wb") as file:
        while chunk := sys.stdin.buffer.read(_CHUNK):
            free = shutil.disk_usage(path.parent).free
            if free < LEFT_FREE + len(chunk):
                raise VideoError(
                    f"standard input does not fit on the disk: {size >> 20} MiB were read, and {free >> 20} MiB are "
                    "left: free some space, or give an -o on another disk"
                )
            file.write(chunk)
            size += len(chunk)
            if size >= told:
                progress(f"{size >> 30} GiB of standard input read")
                told += _TOLD_EVERY
    if not size:
        raise VideoError("standard input is empty: pipe a video into it, or give a file")
