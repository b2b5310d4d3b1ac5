"""The card's own state beside its figures: name, driver, clocks, power, temperature, as nvidia-smi tells them."""

from __future__ import annotations

import csv
import shutil
import subprocess
from typing import Any

# what every nvidia-smi of the last ten years knows; an unknown name would make it say nothing at all
FIELDS = (
    "name", "driver_version", "memory.total", "pstate", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.draw",
    "power.limit", "temperature.gpu", "utilization.gpu",
)  # fmt: skip
TIMEOUT_S = 20
Facts = dict[str, Any]


def card_facts() -> Facts | None:
    """The first card's, in MHz, W, °C, MiB and percent; None for what the card does not tell, and where there is no
    nvidia-smi."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    query = [command, f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return parsed(told)


def parsed(told: str) -> Facts | None:
    """Its first line, as a mapping with underscores for dots; None for a line of another length."""
    line = next(iter(csv.reader(told.splitlines(), skipinitialspace=True)), [])
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
