"""Write beside the target, then rename: a killed process leaves the old file or the new one, never half a file.

    with atomic_path(target) as partial: ...      one file; also write_bytes and write_text
    with atomic_folder(target) as partial: ...    a folder that is replaced as a whole: a bundle, a data set
    repair_folder(target)                         before reading such a folder: see the table below

`starcast.hold` keeps a second process from the same output, and `starcast.leftovers` removes what dead ones left.

Few systems can exchange two folders, so a folder is replaced by two renames, T to A and P to T, and then A is deleted:
T is the target, P = `.starcast-partial-TAG-…` the new folder, A = `.starcast-replaced.TAG.…` the old one. A is trusted
only beside its P, which the second rename takes away. So what a kill leaves is never ambiguous:

    T    A    P
    yes  –    –     as before the command, or after it
    –    –    –     there never was one, or somebody moved it away
    any  –    yes   killed while P was filled: P is swept
    –    yes  yes   killed between the renames: A goes back to T, then P is swept
    yes  yes  any   killed before A was deleted, or there is another T since: A is deleted
    –    yes  –     killed before A was deleted, then T was moved away: A is deleted, and does not come back

Whoever changes one of these states holds T (`starcast.hold`). A reader that finds T missing beside a living writer
waits for its second rename. A is renamed to a partial name before it is deleted, so that no half of it is ever trusted.
What earlier versions left is called `.replaced-NAME`, says nothing about its P, and is put back where T is missing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from starcast.errors import OptionError
from starcast.hold import hold, hold_without_sweep, short_name
from starcast.leftovers import (
    PARTIAL,
    REPLACED,
    WINDOWS,
    Partial,
    discard,
    new_partial_file,
    new_partial_folder,
    sweep,
    sweep_once,
    tag_of,
)
from starcast.signals import undisturbed

TRIES, PAUSE_S = 20, 0.05
PATIENCE_S = 2.0  # how long a reader waits for a writer between its two renames, which takes microseconds
SYNC_THREADS = 8  # a third of the time that one takes: the journal writes the files of several threads at once

_OLD_REPLACED = ".replaced-"
_OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_WRITE_ERRORS = {*_OUT_OF_SPACE, errno.EIO, errno.EROFS}
# what file systems answer that cannot flush; of the other errors, no space and a failing disk are real
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EPERM, errno.EACCES,
            errno.EROFS}  # fmt: skip


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A path beside `target`, with the same suffix, that replaces `target` when the block ends without an error.

    A link is followed. The file's bytes are on the disk before the rename. After an error the partial file is removed
    and the old target is untouched. Raises the OSError of the file system, with the target's name instead of the
    partial one; at once if the target is something else than a file, or has a name that is too long.
    """
    target = Path(os.path.realpath(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = _mode_of(target)
    sweep_once(target.parent)
    with _naming(target) as named:
        partial = None
        try:
            with undisturbed():
                partial = named.own(new_partial_file(target))
            yield partial.path
            _sync(partial.path)
            with contextlib.suppress(OSError):  # some file systems have no modes; mkstemp's is the strictest
                partial.path.chmod(mode)
            if WINDOWS:
                partial.let_go()
            _move_over(partial.path, target)
        except BaseException:
            if partial is not None:
                with undisturbed():
                    partial.remove()
            raise
    partial.let_go()
    with contextlib.suppress(OSError):  # the new file is in place
        _sync(target.parent)


def write_bytes(target: Path, content: bytes) -> None:
    """Replace `target` with `content`, atomically."""
    with atomic_path(target) as partial:
        partial.write_bytes(content)


def write_text(target: Path, content: str) -> None:
    """Replace `target` with `content` in UTF-8, atomically."""
    write_bytes(target, content.encode())


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A new folder beside `target` that replaces it when the block ends without an error.

    A link is followed. Everything in the folder is on the disk before the renames. After an error, and after a kill as
    soon as somebody calls `repair_folder`, the old folder is back. Raises OptionError if another process writes the
    same folder, and the OSError of the file system with the target's name instead of the partial one.
    """
    target = Path(os.path.realpath(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    with hold(target), _naming(target) as named:
        _settle(target)
        partial = None
        try:
            with undisturbed():
                partial = named.own(new_partial_folder(target))
            yield partial.path
            with contextlib.suppress(OSError):
                partial.path.chmod(0o777 & ~_umask())
            if WINDOWS:
                partial.let_go()
            _sync_tree(partial.path)
            if os.path.lexists(target):
                target.rename(_aside(target, partial.tag))
            partial.path.rename(target)
        except BaseException:
            if partial is not None and partial.process == os.getpid():
                with undisturbed():
                    _undo(target, partial)
            raise
        partial.let_go()
        with contextlib.suppress(OSError):  # the new folder is in place; what is left of the old one is swept later
            _sync(target.parent)
            _settle(target)


def repair_folder(target: Path) -> bool:
    """Put back an old folder that a killed `atomic_folder` left aside; return whether that was so. A link is followed.

    Call it before reading a folder. An old folder that the new one has replaced is deleted. Beside a living writer
    nothing is changed, but if it is between its two renames, the call waits for the second. What cannot be repaired, as
    on a disk that is read-only, stays as it is.
    """
    target = Path(os.path.realpath(target))
    until = time.monotonic() + PATIENCE_S
    while target.name and (_asides(target) if os.path.lexists(target) else any(_trusted(target))):
        late = time.monotonic() > until
        with contextlib.suppress(OptionError, OSError), hold_without_sweep(target) as locked:
            if locked or late:
                return _settle(target)
        if late or os.path.lexists(target):
            break
        time.sleep(PAUSE_S / 10)
    return False


def _settle(target: Path) -> bool:
    """Put back or delete the old folders of earlier calls, as the table says; return whether one was put back.

    Call it only while holding the target. Raises OSError.
    """
    restored = False
    for aside in list(_trusted(target)):
        if not os.path.lexists(target):
            aside.rename(target)
            restored = True
    for aside in _asides(target):
        discard(aside)
    if restored:
        sweep(target.parent)  # of the new folder that was not whole
    return restored


def _undo(target: Path, partial: Partial) -> None:
    """Put the old folder back, then remove the new one; in this order, because alone the old one is not trusted."""
    with contextlib.suppress(OSError):
        _settle(target)
    if os.path.lexists(target) or not any(_trusted(target)):
        partial.remove()
    partial.let_go()


def _trusted(target: Path) -> Iterator[Path]:
    """The old folders beside the new one that was to replace them, and those of earlier versions."""
    tags = {tag_of(name) for name in _names_beside(target) if name.startswith(PARTIAL)}
    for aside in _asides(target):
        if aside.name.startswith(_OLD_REPLACED) or tag_of(aside.name) in tags:
            yield aside


def _asides(target: Path) -> list[Path]:
    name = re.escape(short_name(target.name))
    pattern = re.compile(rf"{re.escape(REPLACED)}[a-z0-9_]{{8}}\.{name}|{re.escape(_OLD_REPLACED)}{name}")
    return [target.with_name(name) for name in _names_beside(target) if pattern.fullmatch(name)]


def _aside(target: Path, tag: str) -> Path:
    return target.with_name(f"{REPLACED}{tag}.{short_name(target.name)}")


def _names_beside(target: Path) -> list[str]:
    try:
        return sorted(path.name for path in target.parent.iterdir())
    except OSError:
        return []


class _Naming:
    """Gives errors the target's name: nobody knows the partial one, and many errors of writing name no file."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.partial: Path | None = None

    def own(self, partial: Partial) -> Partial:
        self.partial = partial.path
        return partial

    def correct(self, error: OSError) -> None:
        if error.filename is None and error.errno in _WRITE_ERRORS:
            error.filename = str(self.target)
        elif isinstance(error.filename, str | bytes | os.PathLike):
            error.filename = self._shown(os.fsdecode(error.filename))
        if isinstance(error.filename2, str | bytes | os.PathLike):
            error.filename2 = None if error.filename == str(self.target) else self._shown(os.fsdecode(error.filename2))

    def _shown(self, name: str) -> str:
        if self.partial is None:
            return str(self.target) if Path(name).name.startswith(PARTIAL) else name
        path = Path(name)
        if not path.is_relative_to(self.partial):
            return name
        return str(self.target / path.relative_to(self.partial))


@contextmanager
def _naming(target: Path) -> Iterator[_Naming]:
    naming = _Naming(target)
    try:
        yield naming
    except OSError as error:
        with contextlib.suppress(AttributeError):  # PyAV's errors keep their names
            naming.correct(error)
        raise


def _mode_of(target: Path) -> int:
    """The mode for a new file: that of the old one, if there is one. Raises OSError for what is no file."""
    try:
        old = target.lstat().st_mode
    except FileNotFoundError:
        return 0o666 & ~_umask()
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if not target.is_file():
        raise OSError(errno.EEXIST, "Not a regular file, so it cannot be replaced", str(target))
    return old & 0o777


def _sync(path: Path) -> None:
    """Flush a file's bytes, or a folder's names, to disk. Does nothing if the file system cannot."""
    if WINDOWS and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if WINDOWS else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            error.filename = str(path)
            raise
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    """Flush everything in a folder to disk: first its files, then the folders, innermost first."""
    walked = list(os.walk(folder, topdown=False))
    files = [Path(place, name) for place, _, names in walked for name in names if not Path(place, name).is_symlink()]
    if len(files) > SYNC_THREADS:
        with ThreadPoolExecutor(SYNC_THREADS) as threads:
            list(threads.map(_sync, files))
    else:
        for file in files:
            _sync(file)
    for place, _, _ in walked:
        _sync(Path(place))


def _move_over(partial: Path, target: Path) -> None:
    """Rename over the target. Windows refuses while anything reads it, often a virus scanner, so try for a second."""
    for left in reversed(range(TRIES if WINDOWS else 1)):
        try:
            partial.replace(target)
        except PermissionError:
            if not left:
                raise
            time.sleep(PAUSE_S)
        else:
            return


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
