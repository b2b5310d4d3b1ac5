"""Read a source image and hash it, at one version of its file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from starcast.errors import ImageError, printable
from starcast.images.read import StoredImage, read_stored
from starcast.runtime.marks import hash_content, hash_place


class ReadSource(msgspec.Struct, frozen=True):
    """A source's image, and what its marks say of it."""

    stored: StoredImage
    content: str
    place: str


def read_source(path: Path, max_pixels: int, *, at_least: tuple[int, int] | None = None) -> ReadSource:
    """The image and hashes of one version of a file. `at_least` as in `read_stored`. Raises ImageError, also if the
    file changes meanwhile."""
    try:
        before = _version_of(path)
        stored = read_stored(path, max_pixels=max_pixels, limit_flag="--max-pixels", at_least=at_least)
        content = hash_content(path)  # of what the system still has in memory
        if _version_of(path) != before:
            raise ImageError(f"{printable(path)} changed while it was read: run the command again")
    except ImageError:
        raise
    except OSError as error:
        raise ImageError(
            f"{printable(path)} disappeared while it was read ({error.strerror}): run the command again"
        ) from error
    return ReadSource(stored, content, hash_place(path))


def _version_of(path: Path) -> tuple[int, ...] | None:
    """Values that change when a file is written to or replaced; None if it cannot be looked at."""
    try:
        facts = path.stat()
    except (OSError, ValueError):  # reading it says why
        return None
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns
