"""What is free is counted, and an allocation beyond it fails in an error that can be caught."""

from __future__ import annotations

import subprocess
import sys

import pytest

from starcast.runtime import memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="free memory is read from /proc")


def test_what_is_free_is_less_than_all(monkeypatch):
    total, free = memory.total_memory(), memory.free_memory()
    assert total is not None
    assert free is not None
    assert free > 0


@pytest.mark.parametrize(("files", "limits"), [
    ({}, []),
    ({"memory.max": "max", "memory.current": "7"}, []),
    ({"memory.max": "1000", "memory.current": "300", "memory.stat": "anon 5\ninactive_file 100\n"}, [(1000, 200)]),
    ({"memory.max": "1000", "memory.current": "300", "memory.stat": ""}, [(1000, 300)]),
    ({"memory/memory.limit_in_bytes": str(2**63 - 4096), "memory/memory.usage_in_bytes": "9",
      "memory/memory.stat": ""}, []),
    ({"memory/memory.limit_in_bytes": "50", "memory/memory.usage_in_bytes": "9",
      "memory/memory.stat": "total_inactive_file 4\n"}, [(50, 5)]),
], ids=["none", "no limit", "version 2", "no cache", "version 1 without", "version 1"])  # fmt: skip
def test_a_containers_limit_counts_without_the_cache_of_files(monkeypatch, tmp_path, files, limits):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    assert memory._group_limits() == limits


def test_an_allocation_beyond_what_is_free_fails_instead_of_ending_the_process():
    script = """
import numpy as np, sys
from pathlib import Path
from starcast.runtime import memory
memory.free_memory = lambda: 2**20
real = Path.exists
Path.exists = lambda path: str(path) != "/dev/nvidiactl" and real(path)
try:
    with memory.limit_memory():
        print(len(bytes(2**26)))
        np.ones(2**28)  # 2 GiB; the reserve is 1
except MemoryError:
    print("refused")
print(len(np.ones(2**28, np.uint8)) + len(np.empty(2**31, np.uint8)))  # allowed again
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(2**26), "refused", str(2**28 + 2**31)]
