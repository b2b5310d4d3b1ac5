"""Two checkpoints of runs, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from starcast.train.checkpoint.file import read_checkpoint


def tensors(value: Any, prefix: str = "") -> dict[str, Any]:
    """Every tensor and number of a nested structure, by its place."""
    if isinstance(value, dict):
        return {place: leaf for key, part in value.items() for place, leaf in tensors(part, f"{prefix}/{key}").items()}
    if isinstance(value, list | tuple):
        return tensors(dict(enumerate(value)), prefix)
    return {prefix: value}


def assert_same_bits(path: Path, other: Path) -> None:
    one, two = read_checkpoint(path), read_checkpoint(other)
    for part in ("networks", "averaged", "optimizers"):
        ours, theirs = tensors(getattr(one, part)), tensors(getattr(two, part))
        assert ours.keys() == theirs.keys()
        for place, leaf in ours.items():
            same = torch.equal(leaf, theirs[place]) if isinstance(leaf, torch.Tensor) else leaf == theirs[place]
            assert same, f"{part}{place}"
