"""Unfinished files and folders: each is locked by the process that writes it, so those of dead ones are recognised.

The system drops a lock when its process ends, also after `kill -9`. So what is not locked is dead, and `sweep` removes
it. That holds for processes in other containers on the same volume, too. Where the file system has no locks, nobody
can tell, and nothing is removed. Windows needs no locks: it does not remove what a process has open, so an unfinished
folder has an open file in it there.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from starcast import locks
from starcast.locks import Lock
from starcast.signals import undisturbed

PARTIAL = ".starcast-partial-"  # prefix of unfinished files and folders; scanners skip names that begin with a dot
REPLACED = ".starcast-replaced."  # prefix of a folder that a new one is about to replace
LOCK = ".starcast-lock"
WINDOWS = os.name == "nt"

_PARTIAL_NAME = re.compile(rf"{re.escape(PARTIAL)}([a-z0-9_]{{8}})-.*", re.DOTALL)
_REPLACED_NAME = re.compile(rf"{re.escape(REPLACED)}([a-z0-9_]{{8}})\..*", re.DOTALL)
_LOCK_NAME = re.compile(r"\.starcast-lock(-.*)?", re.DOTALL)
_TAIL = 32  # letters of the target's name, enough to recognise it: the whole name with a prefix could be too long
_swept: set[str] = set()


@dataclass
class Partial:
    """An unfinished file or folder of this process. `tag` is the random part of its name."""

    path: Path
    descriptor: int | None
    process: int

    @property
    def tag(self) -> str:
        return tag_of(self.path.name)

    def let_go(self) -> None:
        """Give up the lock. Windows renames nothing that is open, so let go before renaming there."""
        if self.descriptor is not None and self.process == os.getpid():
            locks.close(self.descriptor)
            if WINDOWS and self.path.is_dir():
                with contextlib.suppress(OSError):
                    (self.path / LOCK).unlink()
        self.descriptor = None

    def remove(self) -> None:
        """Delete it, if it is still there. A fork leaves its parent's alone. Raises nothing."""
        if self.process != os.getpid():
            return
        if WINDOWS:
            self.let_go()
        _delete(self.path)
        self.let_go()


def new_partial_file(target: Path) -> Partial:
    """An empty file beside `target`, with the same suffix, locked by this process. Raises OSError."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix=PARTIAL, suffix=f"-{target.name[-_TAIL:]}", dir=target.parent)
        try:
            locks.watch(descriptor)
            path = Path(name)
            if WINDOWS or _is_ours(descriptor, path):
                return Partial(path, descriptor, os.getpid())
        except BaseException:
            _delete(Path(name))
            raise
        locks.close(descriptor)  # another process swept it before the lock


def new_partial_folder(target: Path) -> Partial:
    """An empty folder beside `target`, locked by this process. Raises OSError."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=PARTIAL, suffix=f"-{target.name[-_TAIL:]}", dir=target.parent))
        try:
            if WINDOWS:
                return Partial(path, locks.open_for_lock(path / LOCK, create=True), os.getpid())
            descriptor = locks.open_for_lock(path)
            if _is_ours(descriptor, path):
                return Partial(path, descriptor, os.getpid())
            locks.close(descriptor)
        except FileNotFoundError:  # another process swept it before it was opened
            continue
        except BaseException:
            _delete(path)
            raise


def discard(folder: Path) -> None:
    """Delete a folder under a name that nobody trusts: a kill on the way must not leave half of it under its own.

    Raises OSError if it cannot be renamed. What cannot be deleted after that is left to a later `sweep`.
    """
    trash = folder.with_name(f"{PARTIAL}{os.urandom(4).hex()}-{folder.name[-_TAIL:]}")
    folder.rename(trash)
    _remove_if_dead(trash)


def sweep(folder: Path) -> None:
    """Remove what dead processes left directly in a folder. Raises nothing.

    An unfinished folder stays as long as the old folder that it was to replace lies beside it: the two together say
    that the old one must be put back (see `starcast.atomic`).
    """
    try:
        names = [path.name for path in Path(folder).iterdir()]
    except OSError:
        return
    needed = {match[1] for name in names if (match := _REPLACED_NAME.fullmatch(name))}
    for name in names:
        partial = _PARTIAL_NAME.fullmatch(name)
        if (partial and partial[1] not in needed) or _LOCK_NAME.fullmatch(name):
            _remove_if_dead(Path(folder, name))


def sweep_once(folder: Path) -> None:
    """Sweep a folder when this process first writes into it."""
    key = os.path.realpath(folder)
    if key not in _swept:
        _swept.add(key)
        sweep(folder)


def tag_of(name: str) -> str:
    """The random part of the name of an unfinished folder, or of the old one beside it; empty for other names."""
    match = _PARTIAL_NAME.fullmatch(name) or _REPLACED_NAME.fullmatch(name)
    return match[1] if match else ""


@contextmanager
def temporary_folder(place: Path | None = None) -> Iterator[Path]:
    """A folder in `place`, by default the system's for temporary files, removed at the end, or by a later call after a
    kill.

    Raises OSError.
    """
    # short, because sockets lie in such folders and their paths may have 104 letters at most on macOS
    beside = Path(place or tempfile.gettempdir(), "t")
    sweep_once(beside.parent)
    partial = None
    try:
        with undisturbed():
            partial = new_partial_folder(beside)
        yield partial.path
    finally:
        if partial is not None:
            with undisturbed():
                partial.remove()


@contextmanager
def own_temporary_files() -> Iterator[None]:
    """Lets every library put its temporary files into one folder, which `temporary_folder` removes.

    Without it, a killed process leaves what Python's multiprocessing and others put there for good.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a full or missing temporary folder stops only those who need it
            tempfile.tempdir, before = str(stack.enter_context(temporary_folder())), tempfile.tempdir
            stack.callback(setattr, tempfile, "tempdir", before)
        yield


def _is_ours(descriptor: int, path: Path) -> bool:
    """Lock a new partial; False if another process's sweep has come first."""
    return locks.try_lock(descriptor) is not Lock.REFUSED and locks.is_still_at(descriptor, path)


def _remove_if_dead(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            return
        if WINDOWS:
            _remove_on_windows(path)
            return
        descriptor = locks.open_for_lock(path)
    except OSError:
        return
    try:
        if locks.try_lock(descriptor) is Lock.TAKEN and locks.is_still_at(descriptor, path):
            _delete(path)
    finally:
        locks.close(descriptor)


def _remove_on_windows(path: Path) -> None:
    """Remove a path unless a process has it, or a file in it, open: then Windows renames nothing."""
    gone = path.with_name(f"{path.name}-")
    path.rename(gone)
    _delete(gone)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
