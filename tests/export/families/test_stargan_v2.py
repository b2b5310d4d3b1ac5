"""StarGAN v2 in export: its mean styles, and the styles that the gate and calibration try."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from starcast.errors import CheckpointError
from starcast.export.families import open_model
from starcast.export.families.stargan_v2 import mean_styles
from starcast.export.gate.images import draw_images
from starcast.export.gate.reference import as_floats
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
    latents = np.random.RandomState(0).standard_normal((25_000, small.config.latent_dim)).astype(np.float32)
    network = small.networks.mapping_network
    means = small.model.mean_styles(25_000)
    for domain in range(small.config.domains):
        styles = network(torch.from_numpy(latents), torch.full((25_000,), domain)).double()
        np.testing.assert_allclose(means[domain], styles.mean(dim=0).numpy(), atol=1e-6)


def test_the_gates_styles_are_of_latents_and_references_in_turn(small: Any) -> None:
    styles = small.model.gate_styles(7)
    np.testing.assert_array_equal(styles, small.model.gate_styles(7))
    assert styles.shape == (7, small.config.style_dim)
    assert len(np.unique(styles, axis=0)) == 7


def test_a_reference_has_the_style_of_its_domain(small: Any) -> None:
    image = draw_images(1, 32, 32, seed=1)[0]
    styles = [small.model.reference_style(domain, image) for domain in range(3)]
    with torch.inference_mode():
        expected = small.networks.style_encoder(as_floats(image[None].repeat(3, axis=0)), torch.arange(3)).numpy()
    np.testing.assert_allclose(np.concatenate(styles), expected, atol=1e-6)


def test_an_unknown_family_is_refused_in_a_sentence(small_checkpoint: Path) -> None:
    @dataclass
    class Foreign:
        path: Path
        family: str

    with pytest.raises(
        CheckpointError, match="belongs to family 'cyclegan', which this starcast cannot export: update starcast"
    ):
        open_model(Foreign(small_checkpoint, "cyclegan"), ("a",))  # type: ignore[arg-type]
