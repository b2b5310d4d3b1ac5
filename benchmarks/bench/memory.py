"""The memory that this process holds now, and its peak."""

from __future__ import annotations

import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_rss() -> int | None:
    """Peak resident bytes since the program started; None where the system does not report it."""
    try:  # on Linux getrusage includes what the parent held when it started this process
        status = _STATUS.read_text()
    except OSError:
        return _peak_elsewhere()
    return read_status(status, "VmHWM")


def rss() -> int | None:
    """Resident bytes now; the peak where the system does not report them."""
    try:
        return read_status(_STATUS.read_text(), "VmRSS")
    except OSError:
        return peak_rss()


def read_status(text: str, wanted: str) -> int | None:
    """A line of /proc/self/status, in bytes."""
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name == wanted:
            return int(rest.split()[0]) * 1024
    return None


def _peak_elsewhere() -> int | None:
    if sys.platform == "win32":
        try:
            import psutil
        except ImportError:
            return None
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
