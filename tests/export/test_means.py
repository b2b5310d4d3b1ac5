from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from starcast.export.means import draw_latents, mean_styles
from starcast.train.families.stargan_v2.networks import MappingNetwork, StarGANv2Config


def test_means_equal_the_official_programs(oracle_checkpoint: Path, oracle: Any) -> None:
    config = StarGANv2Config(
        image_size=256, domains=3, style_dim=16, latent_dim=8, mapping_width=64, max_channels=32
    )  # fmt: skip
    network = MappingNetwork(config)
    network.load_state_dict(torch.load(oracle_checkpoint, weights_only=True)["mapping_network"])
    means = mean_styles(network, oracle["z_pool"], config.domains)
    np.testing.assert_allclose(means, oracle["s_avg"], atol=1e-4)


def test_means_over_several_batches_are_those_of_one(small: Any) -> None:
    latents = draw_latents(25_000, small.config.latent_dim)
    network = small.networks.mapping_network
    means = mean_styles(network, latents, small.config.domains)
    for domain in range(small.config.domains):
        styles = network(torch.from_numpy(latents), torch.full((25_000,), domain)).double()
        np.testing.assert_allclose(means[domain], styles.mean(dim=0).numpy(), atol=1e-6)


def test_latents_are_normal_and_always_the_same() -> None:
    latents = draw_latents(10_000, 4)
    np.testing.assert_array_equal(latents[:5], np.random.RandomState(0).standard_normal((5, 4)).astype(np.float32))
    assert np.abs(latents.mean(axis=0)).max() < 0.05  # five standard errors
    assert np.abs(latents.std(axis=0) - 1).max() < 0.05
