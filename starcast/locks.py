"""The system's locks on open files: they end with the process, however it dies, and no other process can take them.

A fork does not keep one alive: the child closes its copies, which leaves the parent's lock as it is.
"""

from __future__ import annotations

import enum
import os
import stat
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

FAR = 2**30  # where Windows locks one byte: a locked byte cannot be read, and no file of ours reaches so far
_descriptors: set[int] = set()


class Lock(enum.Enum):
    """What became of an attempt."""

    TAKEN = "taken"
    REFUSED = "another open file has it"
    UNKNOWN = "this file system has no locks"


def open_for_lock(path: Path, *, create: bool = False) -> int:
    """Open a file or a folder, without following a link, so that `try_lock` can lock it. Raises OSError."""
    flags = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    folder = not create and stat.S_ISDIR(path.lstat().st_mode)
    try:  # network drives lock only what is open for writing
        descriptor = os.open(
            path, flags | (os.O_RDONLY if folder else os.O_RDWR | (os.O_CREAT if create else 0)), 0o666
        )
    except PermissionError:
        if folder:
            raise
        descriptor = os.open(path, flags | os.O_RDONLY)  # another user's
    watch(descriptor)
    return descriptor


def watch(descriptor: int) -> None:
    """Close a descriptor in every fork of this process."""
    _descriptors.add(descriptor)


def close(descriptor: int) -> None:
    """Close a descriptor, and so give up its lock."""
    _descriptors.discard(descriptor)
    os.close(descriptor)


def try_lock(descriptor: int) -> Lock:
    """Lock an open file for this process, at once or not at all."""
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, FAR, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return Lock.REFUSED
    except OSError:
        return Lock.UNKNOWN
    return Lock.TAKEN


def is_still_at(descriptor: int, path: Path) -> bool:
    """Whether a path still leads to an open file. It does not after another process has removed or replaced it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        return False


def _close_in_child() -> None:
    while _descriptors:
        os.close(_descriptors.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
