"""The most memory that this process has held."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_rss() -> int | None:
    """Bytes, resident, since the process's program began; None where the system does not tell."""
    try:  # Linux: getrusage there counts what the parent held when it started this process
        status = Path("/proc/self/status").read_text()
    except OSError:
        return _peak_elsewhere()
    return peak_in_status(status)


def peak_in_status(text: str) -> int | None:
    """VmHWM of /proc/self/status, in bytes."""
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name == "VmHWM":
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
