"""Numbers of the two original StyleGAN2 programs, and their files."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ORACLES = Path(__file__).resolve().parents[1] / "oracles"
ROSINALITY = ORACLES / "stylegan2_rosinality"
LUKAU2357 = ORACLES / "stylegan2_lukau"

# styles and logits, images: what the oracles' README allows in float32
STYLES, IMAGES = 1e-4, 1e-3


def numbers(folder: Path) -> dict[str, Tensor]:
    """The arrays of a folder's oracle.npz."""
    with np.load(folder / "oracle.npz") as arrays:
        return {name: torch.from_numpy(value) for name, value in arrays.items()}


def facts(folder: Path) -> dict[str, Any]:
    """A folder's oracle.json."""
    content: dict[str, Any] = json.loads((folder / "oracle.json").read_text())
    return content


def load(path: Path) -> Any:
    """A file's content, with a training's arguments allowed and no other class."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, weights_only=True)


def lukau2357_model(target: Path) -> Path:
    """The oracle's model folder. The averages stand for the networks as trained, which would double its size."""
    shutil.copytree(LUKAU2357, target)
    for raw, averaged in {"MN": "MNE", "G": "GE"}.items():
        shutil.copy(target / f"checkpoint_2/{averaged}.pth", target / f"checkpoint_2/{raw}.pth")
    return target


def lukau2357_content(checkpoint: Path) -> dict[str, Any]:
    """The content of each file of a checkpoint's folder, by name."""
    return {file.stem: load(file) for file in checkpoint.glob("*.pth")}
