"""The CPU and the GPUs, as far as the system reports them."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starcast.runtime.cores import allowed_threads, cpu_quota, engine_threads
from starcast.runtime.memory import total_memory

# instruction sets that engines have kernels for -> their names in /proc/cpuinfo (x86, then ARM)
INSTRUCTION_SETS = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512f",),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "BF16": ("avx512_bf16", "bf16"),
    "FP16": ("avx512_fp16", "asimdhp"),
    "AMX": ("amx_tile",),
    "NEON": ("asimd",),
    "DOTPROD": ("asimddp",),
    "I8MM": ("i8mm",),
    "SVE": ("sve",),
}
# their names in NumPy, for systems without /proc/cpuinfo; ICL and SPR are Intel generations
_NUMPY_SETS = {
    "AVX2": ("AVX2", "X86_V3"),
    "AVX-512": ("AVX512F", "X86_V4"),
    "VNNI": ("AVX512_ICL", "AVX512VNNI"),
    "FP16": ("AVX512_SPR", "ASIMDHP"),
    "NEON": ("NEON", "ASIMD"),
    "DOTPROD": ("ASIMDDP",),
    "SVE": ("SVE",),
}
_QUERY = ("--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
_PATIENCE_S = 15.0  # a driver may need some seconds to wake its GPUs


@dataclass(frozen=True, kw_only=True)
class Processor:
    """A machine's CPU. Memory in bytes; None where the system does not say."""

    name: str
    instruction_sets: tuple[str, ...]
    cores: int  # logical, of the machine
    allowed: int  # threads that this process may run at a time
    quota: float | None  # a container's quota, in cores
    engine_threads: int | None  # None: the engine chooses
    memory: int | None


def processor() -> Processor:
    """This machine's CPU, and how much of it this process may use."""
    return Processor(
        name=_name() or platform.processor() or platform.machine(),
        instruction_sets=_instruction_sets(),
        cores=os.cpu_count() or 1,
        allowed=allowed_threads(),
        quota=cpu_quota(),
        engine_threads=engine_threads(),
        memory=total_memory(),
    )


def gpus() -> tuple[str, ...]:
    """NVIDIA GPUs as `name, driver, memory`, or one line saying why nvidia-smi fails; empty if it is missing."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ()
    try:
        answer = subprocess.run(
            [command, *_QUERY], capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return (f"nvidia-smi does not answer ({error})",)
    if answer.returncode:
        lines = (answer.stdout + answer.stderr).strip().splitlines() or ["no message"]
        return (f"nvidia-smi fails ({lines[0]})",)
    rows = [[part.strip() for part in line.split(",")] for line in answer.stdout.splitlines() if line.strip()]
    return tuple(f"{row[0]}, driver {row[1]}, {row[2]}" if len(row) == 3 else ", ".join(row) for row in rows)


def sets_in_cpuinfo(text: str) -> tuple[str, ...]:
    """The instruction sets that /proc/cpuinfo lists for its first processor."""
    match = re.search(r"^(?:flags|features)\s*:(.*)$", text, re.IGNORECASE | re.MULTILINE)
    flags = set(match[1].split()) if match else set()
    return tuple(name for name, spellings in INSTRUCTION_SETS.items() if flags & set(spellings))


def _instruction_sets() -> tuple[str, ...]:
    text = _cpuinfo()
    if text is not None:
        return sets_in_cpuinfo(text)
    import numpy as np

    extensions: Any = np.show_config(mode="dicts")
    found = {name for part in ("baseline", "found") for name in extensions.get("SIMD Extensions", {}).get(part, ())}
    return tuple(name for name, spellings in _NUMPY_SETS.items() if found & set(spellings))


def _cpuinfo() -> str | None:
    try:
        return Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return None


def _name() -> str | None:
    """The product name; None where the system gives none (ARM servers)."""
    if sys.platform == "win32":
        import winreg

        place = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, place) as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None
    match = re.search(r"^model name\s*:\s*(.+)$", _cpuinfo() or "", re.MULTILINE)
    return match[1].strip() if match else None
