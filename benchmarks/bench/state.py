"""What the system reports while a row runs: this process's memory, and an NVIDIA GPU's clocks, power, temperature."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    """The value of one line of /proc/self/status, in bytes; None if it has no such line."""
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


# fields that every nvidia-smi of the last ten years knows: one unknown name makes it report nothing at all
FIELDS = (
    "name", "driver_version", "memory.total", "pstate", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.draw",
    "power.limit", "temperature.gpu", "utilization.gpu",
)  # fmt: skip
TIMEOUT_S = 20
Facts = dict[str, Any]


def gpu_state() -> Facts | None:
    """The first GPU's state in MHz, W, °C, MiB and percent. A value it does not report is None. Without
    nvidia-smi the whole state is None."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    query = [command, f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(query, capture_output=True, text=True, timeout=TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_state(output)


def parse_state(output: str) -> Facts | None:
    """The output's first line by field, with underscores for dots; None if it has another number of fields."""
    line = next(iter(csv.reader(output.splitlines(), skipinitialspace=True)), [])
    if len(line) != len(FIELDS):
        return None
    return {name.replace(".", "_"): _value(text.strip()) for name, text in zip(FIELDS, line, strict=True)}


def _value(text: str) -> float | str | None:
    if text.startswith(("[", "N/A")):  # [N/A], [Not Supported], [Unknown Error]
        return None
    try:
        return float(text)
    except ValueError:
        return text
