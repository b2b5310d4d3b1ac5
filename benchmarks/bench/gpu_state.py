"""What an NVIDIA GPU reports about itself through nvidia-smi: name, driver, clocks, power, temperature."""

from __future__ import annotations

import csv
import shutil
import subprocess
from typing import Any

# fields that every nvidia-smi of the last ten years knows: one unknown name makes it report nothing at all
FIELDS = (
    "name", "driver_version", "memory.total", "pstate", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.draw",
    "power.limit", "temperature.gpu", "utilization.gpu",
)  # fmt: skip
TIMEOUT_S = 20
Facts = dict[str, Any]


def gpu_state() -> Facts | None:
    """The first GPU's state in MHz, W, °C, MiB and percent. A value it does not report is None, and so is the whole
    without nvidia-smi."""
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
    """The output's first line as a mapping, with underscores for dots; None for a line of another length."""
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
