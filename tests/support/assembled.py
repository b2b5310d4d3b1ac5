"""A kernel's text, given to NVIDIA's assembler, which needs no card: what each thread takes."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

REGISTERS = 65_536  # of a multiprocessor, which are given out to threads by 8


@dataclass(frozen=True)
class Taken:
    """Registers of a thread, and bytes that did not find room in them."""

    registers: int
    spilled: int

    def programs(self, threads: int) -> int:
        """How many programs of so many threads have room on a multiprocessor."""
        return REGISTERS // (threads * -(-self.registers // 8) * 8)


def assembled(ptx: str, target: str) -> Taken:
    """For a target as `sm_90a`. Raises AssertionError where the assembler does not take it."""
    from triton.backends.nvidia.compiler import get_ptxas

    architecture = int(re.sub(r"\D", "", target))
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "kernel.ptx"
        text.write_text(ptx)
        command = [get_ptxas(architecture).path, "-v", f"-arch={target}", text, "-o", text.with_suffix(".cubin")]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    spilled = re.findall(r"(\d+) bytes (?:stack frame|spill stores|spill loads)", done.stderr)
    used = re.search(r"Used (\d+) registers", done.stderr)
    assert used is not None
    return Taken(int(used.group(1)), sum(map(int, spilled)))
