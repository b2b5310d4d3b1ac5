"""Formula-made weights for networks too large to store, and the face oracles, which are outside the repository."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

SHARED = Path(__file__).resolve().parents[3] / "shared" / "oracles"


def load_face_oracle(name: str, folder: str = "faces") -> dict[str, NDArray[np.generic]]:
    """Load an oracle's arrays. Skip the test if the oracle files are missing."""
    path = SHARED / folder / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with np.load(path) as arrays:
        return dict(arrays)


def draw_uniform(shape: tuple[int, ...], rank: int, salt: int) -> NDArray[np.float64]:
    """Numbers in 0..1 that depend on an element's position, its tensor's rank and the salt alone (splitmix64)."""
    with np.errstate(over="ignore"):
        seed = (np.uint64(rank) << np.uint64(32)) + (np.uint64(salt) << np.uint64(48))
        x = np.arange(int(np.prod(shape)), dtype=np.uint64) + seed + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return ((x >> np.uint64(40)) / 2.0**24).reshape(shape)


def formula_weights(shapes: Mapping[str, Tensor], salt: int) -> dict[str, Tensor]:
    """A state_dict with these names and shapes, its numbers by formula; integers are 0."""
    state = {}
    for rank, name in enumerate(sorted(shapes)):
        shape = tuple(shapes[name].shape)
        if not shapes[name].is_floating_point():
            state[name] = torch.zeros(shape, dtype=shapes[name].dtype)
            continue
        u, last = draw_uniform(shape, rank, salt), name.rsplit(".", 1)[-1]
        if len(shape) >= 2:
            values = (2 * u - 1) * np.sqrt(3) * np.sqrt(2 / np.prod(shape[1:]))
        else:
            values = {
                "running_var": 0.5 + u,
                "running_mean": 0.2 * (2 * u - 1),
                "weight": 1 + 0.3 * (2 * u - 1),
            }.get(last, 0.1 * (2 * u - 1))
        state[name] = torch.from_numpy(np.asarray(values, np.float32))
    return state


def fill_fan(network: nn.Module, salt: int = 11) -> None:
    """Weights by formula, with the last layer scaled so that heatmaps are small numbers, a few of them above 0.1."""
    state = formula_weights(network.state_dict(), salt)
    state["l0.weight"] /= 1024
    state["l0.bias"].fill_(-0.6)
    network.load_state_dict(state)


def as_input(images: NDArray[np.generic]) -> Tensor:
    """uint8 [N, H, W, 3] -> float (N, 3, H, W) in -1..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
