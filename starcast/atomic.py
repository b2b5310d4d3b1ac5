"""Write beside the target, then rename: a killed process leaves the old file or the new one, never half a file."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial-"  # prefix of unfinished files and folders; scanners skip names that begin with a dot
REPLACED = ".replaced-"
WINDOWS = os.name == "nt"
TRIES, PAUSE_S = 20, 0.05


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A path beside `target`, with the same suffix, that replaces `target` when the block ends without an error.

    The file's bytes are on the disk before the rename. After an error the partial file is removed and the old
    target is untouched. Raises the OSError of the file system.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    tail = target.name[-32:]  # enough to recognise it: the whole name with a prefix could be too long
    handle, name = tempfile.mkstemp(prefix=PARTIAL, suffix=f"-{tail}", dir=target.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
        _move_over(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


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

    The old folder is renamed aside, the new one renamed in, the old one deleted. A process killed between the two
    renames leaves the old one aside: `repair_folder` puts it back.
    """
    target = _with_name(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    repair_folder(target)
    partial = Path(tempfile.mkdtemp(prefix=PARTIAL, suffix=f"-{target.name[-32:]}", dir=target.parent))
    try:
        yield partial
        partial.chmod(0o777 & ~_umask())
        aside = _aside(target)
        if target.exists():
            target.rename(aside)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        repair_folder(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def repair_folder(target: Path) -> bool:
    """Put back the old folder that an interrupted `atomic_folder` left aside; return whether it was put back."""
    target = _with_name(target)
    aside = _aside(target)
    if not aside.exists():
        return False
    if target.exists():
        shutil.rmtree(aside, ignore_errors=True)
        return False
    aside.rename(target)
    return True


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


def _aside(target: Path) -> Path:
    return target.parent / f"{REPLACED}{target.name}"


def _with_name(target: Path) -> Path:
    """The target as a path that ends in a name, as `.` and `..` do not."""
    return Path(target) if Path(target).name not in ("", "..") else Path(target).resolve()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
