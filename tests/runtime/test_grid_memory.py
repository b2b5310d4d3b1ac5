"""Grids of many megapixels: memory holds one of them, once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_generator import TinyGenerator, write_generator_bundle

SIDE, TILES = 512, 6
PIXELS = (TILES * SIDE) ** 2
PILLOWS = 4  # bytes of an RGB pixel

GRIDS = f"""
import sys
from pathlib import Path
from starcast.runtime.generate import outputs
from starcast.runtime.generate.options import GenerateOptions
from starcast.runtime.generate.run import generate_all

outputs.LARGE_PIXELS = 4_000_000

def make(name, seeds, grid):
    options = GenerateOptions(
        output=Path(sys.argv[2]) / name, seeds=(seeds,), grid=grid, format="jpg", backend="onnxruntime", threads=1
    )
    assert not generate_all(Path(sys.argv[1]), options, progress=lambda line: None).failed
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

before = make("small", "0-3", "2x1")
print(make("large", "0-{2 * TILES**2 - 1}", "{TILES}x{TILES}") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux shows a process's peak memory")
def test_two_large_grids_take_one_copy_of_one_of_them(tmp_path: Path) -> None:
    bundle = write_generator_bundle(tmp_path / "bundle", TinyGenerator(height=SIDE, width=SIDE))
    child = subprocess.run(
        [sys.executable, "-c", GRIDS, bundle, tmp_path], capture_output=True, text=True, timeout=120, check=False
    )
    assert child.returncode == 0, child.stderr
    assert len(list((tmp_path / "large").glob("grid*.jpg"))) == 2
    assert int(child.stdout) < 1.4 * PILLOWS * PIXELS
