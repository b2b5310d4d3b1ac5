"""The kernels that TensorRT for RTX compiled for this GPU, stored beside the engine for the next start."""

from __future__ import annotations

import contextlib
from pathlib import Path

from starcast.runtime.engines.cache import read_sealed, write_sealed

SUFFIX = ".kernels"  # added to the engine's file name


def load_kernels(file: Path) -> bytes | None:
    """Kernels that an earlier start stored, if undamaged. Nobody but the user can write into the engine's folder."""
    return read_sealed(file)


def save_kernels(file: Path, kernels: bytes | None) -> None:
    """Store the kernels atomically, if they have changed. A full disk costs time at the next start, not this one."""
    if kernels and kernels != read_sealed(file):
        with contextlib.suppress(OSError):
            write_sealed(file, kernels)
