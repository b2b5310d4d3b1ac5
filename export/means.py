"""Each domain's mean style, towards which `--psi` pulls."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from starcast.train.families.stargan_v2.networks import MappingNetwork

SEED = 0
BATCH = 10_000  # a pass a domain: many small ones would mostly wait for each other's threads


def draw_latents(draws: int, latent_dim: int) -> NDArray[np.float32]:
    """The latents that a bundle's means are taken over: float32 [draws, latent_dim], normal."""
    return np.random.RandomState(SEED).standard_normal((draws, latent_dim)).astype(np.float32)


def mean_styles(network: MappingNetwork, latents: NDArray[np.float32], domains: int) -> NDArray[np.float32]:
    """float32 [domains, S]: the mean over all latents, the same for every domain; summed in float64."""
    parts = np.array_split(latents, -(-len(latents) // BATCH))
    means = [sum(_summed(network, part, domain) for part in parts) / len(latents) for domain in range(domains)]
    return np.stack(means).astype(np.float32)


def _summed(network: MappingNetwork, latents: NDArray[np.float32], domain: int) -> NDArray[np.float64]:
    with torch.inference_mode():
        styles = network(torch.from_numpy(latents), torch.full((len(latents),), domain))
    total: NDArray[np.float64] = styles.numpy().sum(axis=0, dtype=np.float64)
    return total
