"""Only one process at a time writes to an output: a second one gets an error at once.

    with hold(target): ...         a file, or a folder that is replaced as a whole: a film, a bundle, a data set
    with hold_folder(folder): ...  a folder that is written into: translations, a training run; made if missing

Both raise OptionError while another process, or another thread of this one, holds the same place, and give whether
there is a lock: some file systems have none, and the work goes on without. Holds nest: what a thread holds already, it
may hold again. A hold ends with its process. A forked child neither ends its parent's nor keeps it alive.

The lock is on a hidden file beside the place, or inside a folder that is written into, because two containers may share
no more than that folder. It is removed at the end, with new folders that are still empty, and by
`starcast.leftovers.sweep` after a kill.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from starcast import locks
from starcast.errors import OptionError, printable
from starcast.leftovers import LOCK, sweep_once
from starcast.locks import Lock
from starcast.signals import undisturbed

_LONGEST = 200  # bytes of a name that still fits behind a prefix; of a longer one the hash is used
_TRIES = 100  # each fails only if another process releases the lock in the same moment
_REFUSALS, _PAUSE_S = 5, 0.02  # a sweep, or a reader's repair, may have the lock for a moment

_mine: ContextVar[frozenset[Path]] = ContextVar("places", default=frozenset())


@contextmanager
def hold(target: Path) -> Iterator[bool]:
    """Keep other processes from writing a file, or replacing a folder. Links are followed. Raises OptionError."""
    sweep_once(Path(os.path.realpath(target)).parent)
    with hold_without_sweep(target) as locked:
        yield locked


@contextmanager
def hold_without_sweep(target: Path, *, nests: bool = True) -> Iterator[bool]:
    """As `hold`, for a moment: removing what dead processes left could take longer."""
    place = Path(os.path.realpath(target))
    name = short_name(place.name)
    with _hold(target, place, place.with_name(f"{LOCK}-{name}") if name else place / LOCK, nests) as locked:
        yield locked


@contextmanager
def hold_folder(folder: Path) -> Iterator[bool]:
    """Keep other processes from writing into a folder. Links are followed. Raises OptionError."""
    place = Path(os.path.realpath(folder))
    sweep_once(place)
    with _hold(folder, place, place / LOCK, True) as locked:
        yield locked


@contextmanager
def _hold(shown: Path, place: Path, file: Path, nests: bool) -> Iterator[bool]:
    before = _mine.get()
    if nests and place in before:
        yield True
        return
    process = os.getpid()
    made: list[Path] = []
    descriptor = None
    try:
        with undisturbed():
            made = _make_folders(file.parent)
            descriptor = _acquire(file, shown)
            _mine.set(before | {place})
        yield descriptor is not None
    finally:
        _mine.set(before)
        if os.getpid() == process:
            with undisturbed():
                if descriptor is not None:
                    _release(file, descriptor)
                for folder in made:
                    with contextlib.suppress(OSError):  # by now there is something in it
                        folder.rmdir()


def _acquire(file: Path, shown: Path) -> int | None:
    """Lock a file, made if missing; None where that is impossible. Raises OptionError if another process has it."""
    refusals = 0
    for _ in range(_TRIES):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = locks.open_for_lock(file, create=True)
        except FileNotFoundError:  # the folder, which another process made and removed
            continue
        except OSError:
            return None
        outcome = locks.try_lock(descriptor)
        if outcome is Lock.TAKEN and locks.is_still_at(descriptor, file):
            _sign(descriptor)
            return descriptor
        owner = _owner(descriptor)
        locks.close(descriptor)
        if outcome is Lock.REFUSED:
            refusals += 1
            if refusals < _REFUSALS:
                time.sleep(_PAUSE_S)
                continue
            raise OptionError(
                f"{printable(shown)} is being written by another starcast{owner}: wait for it, or choose another -o"
            )
        if outcome is Lock.UNKNOWN:
            with contextlib.suppress(OSError):
                file.unlink()
            return None
    return None


def _release(file: Path, descriptor: int) -> None:
    """Remove the file while it is locked: a process that opened it earlier sees that it is gone, and makes another.

    Windows removes no open file, so there the lock goes first. If another process has opened it by then, it stays.
    """
    if os.name == "nt":
        locks.close(descriptor)
    elif not locks.is_still_at(descriptor, file):
        locks.close(descriptor)
        return
    with contextlib.suppress(OSError):
        file.unlink()
    if os.name != "nt":
        locks.close(descriptor)


def _sign(descriptor: int) -> None:
    """Write who holds the lock, for the error that others get. On a full disk this fails, which does no harm."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"{os.getpid()} {platform.node()}\n".encode())


def _owner(descriptor: int) -> str:
    with contextlib.suppress(OSError, ValueError):
        os.lseek(descriptor, 0, os.SEEK_SET)
        process, _, machine = os.read(descriptor, 1000).decode().strip().partition(" ")
        if process.isdecimal():
            return f" (process {process})" if machine == platform.node() else f" (process {process} on {machine})"
    return ""


def short_name(name: str) -> str:
    """The name of a file, or its hash if there would be no room for a prefix."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= _LONGEST else hashlib.sha256(encoded).hexdigest()


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder and those above it; returns the new ones, the innermost first."""
    made: list[Path] = []
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    with contextlib.suppress(OSError):  # of which the first write tells
        for path in reversed(missing):
            path.mkdir()
            made.insert(0, path)
    return made
