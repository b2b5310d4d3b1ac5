"""The official program's files and numbers, and the smallest options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from starcast.options import replace_options
from starcast.train.checkpoint.file import read_checkpoint
from starcast.train.families.stargan_v1.networks import Networks, empty_networks
from starcast.train.families.stargan_v1.options import StarGANv1Options

ORACLE = Path(__file__).resolve().parents[3] / "oracles" / "stargan_v1"


@pytest.fixture
def official_file() -> Path:
    return ORACLE / "200000-G.ckpt"


@pytest.fixture
def official_networks(official_file: Path) -> Networks:
    checkpoint = read_checkpoint(official_file)
    networks = empty_networks(checkpoint.config, training=True)
    for name, module in networks.items():
        module.load_state_dict(checkpoint.networks[name])
    return networks


@pytest.fixture(scope="session")
def oracle() -> dict[str, torch.Tensor]:
    """What the official program takes and gives, by its README's names."""
    with np.load(ORACLE / "oracle.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


@pytest.fixture(scope="session")
def oracle_facts() -> dict[str, Any]:
    """Its losses, attributes and counts."""
    return json.loads((ORACLE / "losses.json").read_text())


@pytest.fixture
def small() -> StarGANv1Options:
    """The smallest networks there are, and nothing written but what is asked for."""
    return replace_options(
        StarGANv1Options(),
        image_size=16, generator_width=2, discriminator_width=2, residual_blocks=1, discriminator_layers=2,
        batch_size=2, d_steps=2, steps=4, workers=0, log_every=1, sample_every=0, snapshot_every=0, save_every=100,
        device="cpu", learning_rate=1e-3, d_learning_rate=1e-3,
    )  # fmt: skip
