"""The cache of compiled graphs on the user's disk, which makes the second start of a big bundle quick.

Engines do not check what they load: a damaged file could crash the process. So each file carries the hash of its
content, is in a folder that only the user can write to, and is named after everything that it depends on.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import platform
import stat
import sys
from collections.abc import Callable
from functools import cache as once
from pathlib import Path
from typing import TypeVar

import msgspec

from starcast.atomic import write_bytes
from starcast.leftovers import discard

Model = TypeVar("Model")

SMALLEST = 8 * 2**20  # bytes; smaller graphs compile about as fast as they load
LARGEST_JSON = 64 * 2**20  # bytes; a verdict has a thousand, an index a few for each engine
LIMIT = 2 * 2**30  # bytes of the whole folder; the least recently used files are removed first
_MAGIC = b"starcast compiled graph 1\n"
_HEADER = len(_MAGIC) + 32


def user_cache() -> Path:
    """The folder for compiled graphs, in the system's place for caches. Raises RuntimeError where the user has no home.

    We do not use platformdirs: it asks the Windows shell and ignores LOCALAPPDATA, which would move some users' caches.
    """
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "starcast" / "compiled"


def open_cached(
    folder: Path | None,
    facts: tuple[str, ...],
    compile_graph: Callable[[], bytes],
    load: Callable[[bytes], Model],
    refusals: tuple[type[Exception], ...],
) -> Model | None:
    """Load a compiled graph: the one cached by an earlier start with the same facts (graph, engine, settings) on this
    CPU, or a new one from `compile_graph`.

    None if there is no private folder for it, or if `load` raises one of `refusals`: then the caller compiles without
    the cache.
    """
    try:
        place = private(user_cache() if folder is None else folder)
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return None
    if place is None:
        return None
    file = place / hashlib.sha256("\n".join((*facts, processor())).encode()).hexdigest()
    content = read_sealed(file)
    if content is None:
        content = compile_graph()
        with contextlib.suppress(OSError):  # a full disk costs time at the next start, not this one
            write_sealed(file, content)
            make_room(place)
    try:
        return load(content)
    except refusals:
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)
        return None


@once
def processor() -> str:
    """What compiled code depends on: the CPU's name and instruction sets."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "features", "cpu implementer", "cpu part")
    kept = [line for line in lines if line.partition(":")[0].strip().lower() in wanted]
    return "\n".join([platform.machine(), *kept])


def private(folder: Path) -> Path | None:
    """The folder, created if missing; None if someone else could put files there. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, "geteuid"):
        facts = folder.stat()
        if facts.st_uid != os.geteuid() or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return None
    return folder


def write(file: Path, content: bytes) -> None:
    """Write a file of the cache, in the place of whatever is there. Raises OSError."""
    clear(file)
    write_bytes(file, content)


def clear(file: Path) -> None:
    """Remove what is in the place of a file of the cache and cannot be replaced: a folder, a link, a device."""
    if file.is_symlink() or (file.exists() and not file.is_dir() and not file.is_file()):
        file.unlink()
    elif file.is_dir():
        discard(file)


def read(file: Path, limit: float = math.inf) -> bytes | None:
    """The bytes of a file of the cache; None for what is missing, cannot be read, is no file, or is too large."""
    try:
        if not file.is_file() or file.stat().st_size > limit:
            return None
        return file.read_bytes()
    except OSError:
        return None


def read_json(file: Path, kind: type[Model]) -> Model | None:
    """A value that was written as JSON; None for whatever else is there, because it can be measured or built again."""
    content = read(file, LARGEST_JSON)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):  # ValueError: not UTF-8
        return None


def write_sealed(file: Path, content: bytes) -> None:
    """Write a file that carries the hash of its content. Raises OSError."""
    write(file, _MAGIC + hashlib.sha256(content).digest() + content)


def read_sealed(file: Path) -> bytes | None:
    """The content that `write_sealed` wrote, or None. Removes a damaged file, if it can."""
    held = read(file)
    if held is None:
        return None
    content = held[_HEADER:]
    if held[:_HEADER] == _MAGIC + hashlib.sha256(content).digest():
        with contextlib.suppress(OSError):  # a read-only cache still works
            os.utime(file)
        return content
    with contextlib.suppress(OSError):
        file.unlink()
    return None


def make_room(folder: Path) -> None:
    """Remove the least recently used files of a cache until the rest fits in LIMIT. Raises OSError."""
    files = sorted(
        ((path, path.stat()) for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")),
        key=lambda pair: -pair[1].st_mtime,
    )
    total = 0
    for number, (path, facts) in enumerate(files):
        total += facts.st_size
        if number and total > LIMIT:
            path.unlink()
