"""How many cores this process may use: what the scheduler, the container and the machine allow.

Engines count the machine's cores. In a container with a quota they start too many threads, which the kernel then
stops several times a second.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")
_TOPOLOGY = Path("/sys/devices/system/cpu")


def allowed_threads() -> int:
    """Threads that can run at the same time, by affinity and container quota; at least 1."""
    return _within(len(_affinity() or ()) or os.cpu_count() or 1, cpu_quota())


def engine_threads() -> int | None:
    """Threads to compute with: one per physical core, because two on one core share its units. None where the engine
    counts better than we do: on macOS and Windows, which have no quota."""
    allowed = _affinity()
    return _within(physical_cores(allowed), cpu_quota()) if allowed else None


def granted_threads(asked: int | None) -> int | None:
    """The `asked` number of threads, but never more than can run at the same time; None if none was asked for."""
    return None if asked is None else min(asked, allowed_threads())


def physical_cores(logical: set[int], topology: Path = _TOPOLOGY) -> int:
    """The number of physical cores behind the logical CPUs; where the system does not say, one core each."""
    cores = set()
    for number in logical:
        try:
            cores.add((topology / f"cpu{number}/topology/thread_siblings_list").read_text().strip())
        except OSError:
            cores.add(str(number))
    return len(cores)


def cpu_quota(cgroups: Path = _CGROUPS, mount: Path = _MOUNT) -> float | None:
    """The container's quota in cores, or None: the smallest of the control group and its parents, version 1 or 2."""
    try:
        lines = cgroups.read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            quotas += [_quota(folder / "cpu.max") for folder in _upwards(mount, path)]
        elif "cpu" in controllers.split(","):
            for tree in (mount / controllers, mount / "cpu"):
                quotas += [_quota_of_version_1(folder) for folder in _upwards(tree, path)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _affinity() -> set[int] | None:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None  # only Linux has it


def _within(cores: int, quota: float | None) -> int:
    # half a core is worth another thread; with less, that thread would be stopped for longer than it runs
    return cores if quota is None else max(1, min(cores, int(quota + 0.5)))


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """The group's folder and its parents. Inside a container the path may be the host's: then only the root exists."""
    folder = root / path.lstrip("/")
    while folder != root:
        yield folder
        folder = folder.parent
    yield root


def _quota(file: Path) -> float | None:
    """cpu.max holds `QUOTA PERIOD` in microseconds, or `max PERIOD`."""
    try:
        quota, period = file.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _quota_of_version_1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return quota / int((folder / "cpu.cfs_period_us").read_text()) if quota > 0 else None
    except (OSError, ValueError):
        return None
