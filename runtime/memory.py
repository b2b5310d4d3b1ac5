"""How much memory this process may use, and has left."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_RESERVE = 2**30  # bytes that threads' stacks and the allocator reserve but rarely touch
_GROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 2**60  # version 1 writes almost 2**63 for "no limit"


def total_memory() -> int | None:
    """Bytes of memory that this process may use: the machine's or the container's. None if the system does not say."""
    if sys.platform == "win32":
        import ctypes

        class Status(ctypes.Structure):
            """MEMORYSTATUSEX."""

            _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong), ("total", ctypes.c_ulonglong)] + [
                (f"unread{number}", ctypes.c_ulonglong) for number in range(6)
            ]

        status = Status(length=ctypes.sizeof(Status))
        return int(status.total) if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else None
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    return min([total, *(limit for limit, _ in _group_limits())])


def free_memory() -> int | None:
    """Bytes that can still be allocated without taking them from other programs, swap included, on Linux; else None."""
    facts = _kilobytes(Path("/proc/meminfo"))
    if "MemAvailable" not in facts:
        return None
    free = facts["MemAvailable"] + facts.get("SwapFree", 0)
    return min([free, *(limit - used for limit, used in _group_limits())])


@contextmanager
def limit_memory() -> Iterator[None]:
    """In the block, an allocation that exceeds the free memory fails; else the system could end the process. On Linux.

    A graph can demand any amount of memory while it runs, whatever its file says. Engines report an allocation that
    fails; nobody reports one that succeeds and is then touched.
    """
    if sys.platform != "linux" or Path("/dev/nvidiactl").exists():  # CUDA reserves addresses that it never touches
        yield
        return
    import resource

    free, used = free_memory(), _kilobytes(Path("/proc/self/status")).get("VmData")
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    least = min(value for value in (soft, hard, sys.maxsize) if value != resource.RLIM_INFINITY)
    if free is None or used is None or used + free + _RESERVE >= least:
        yield
        return
    resource.setrlimit(resource.RLIMIT_DATA, (used + free + _RESERVE, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _group_limits() -> list[tuple[int, int]]:
    """A container's memory limits and what is used of them, read at the root of its control groups."""
    limits = []
    for folder, limit, used, cache in (
        (_GROUPS, "memory.max", "memory.current", "inactive_file"),
        (_GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most, now = int((folder / limit).read_text()), int((folder / used).read_text())
            # files that the kernel can drop from its cache count as used
            droppable = re.search(rf"^{cache} (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE)
        except (OSError, ValueError):  # absent, or `max`
            continue
        if most < _UNLIMITED:
            limits.append((most, now - int(droppable[1] if droppable else 0)))
    return limits


def _kilobytes(file: Path) -> dict[str, int]:
    """The amounts that a file of /proc lists in kB, in bytes; empty if it cannot be read."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    found = (re.match(r"(\w+):\s*(\d+) kB", line) for line in lines)
    return {match[1]: 1024 * int(match[2]) for match in found if match}
