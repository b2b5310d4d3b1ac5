"""What TensorRT for RTX compiled for this card, kept beside the engine: a second start does not compile again."""

from __future__ import annotations

import contextlib
from pathlib import Path

from starcast.runtime.engines.cache import read_sealed, write_sealed

SUFFIX = ".kernels"  # behind the engine's name


def kept_kernels(file: Path) -> bytes | None:
    """What an earlier start kept, if it is whole. The engine's folder is the user's own: nobody else writes there."""
    return read_sealed(file)


def keep_kernels(file: Path, kernels: bytes | None) -> None:
    """Replace what was kept, atomically, if it has changed. A full disk costs time at the next start, not this one."""
    if kernels and kernels != read_sealed(file):
        with contextlib.suppress(OSError):
            write_sealed(file, kernels)
