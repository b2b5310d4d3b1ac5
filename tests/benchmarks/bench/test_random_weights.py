"""Random weights have their originals' sizes, and make images that are neither flat nor saturated."""

from __future__ import annotations

import pytest
import torch

from starcast.benchmarks.bench.random_weights import original_config, random_networks
from starcast.train.families.stargan_v1.networks import Generator as StarGANv1Generator
from starcast.train.families.stargan_v1.networks import StarGANv1Config
from starcast.train.families.stargan_v2.networks import StarGANv2Config
from starcast.train.families.stylegan2.networks import Generator, MappingNetwork, StyleGAN2Config


def test_stylegan2_has_as_many_parameters_as_rosinalitys_at_256_px_with_multiplier_2():
    config, _ = original_config("stylegan2")
    with torch.device("meta"):
        networks = MappingNetwork(config), Generator(config)
    assert sum(one.numel() for network in networks for one in network.parameters()) == 30_034_338


@pytest.mark.parametrize("name", ["stargan-v1-128", "stargan-v1-256"])
def test_stargan_v1_has_as_many_parameters_as_the_official_generator_with_five_attributes(name):
    config, domains = original_config(name)
    with torch.device("meta"):
        network = StarGANv1Generator(config)
    assert sum(one.numel() for one in network.parameters()) == 8_430_528
    assert config.image_size == int(name.rpartition("-")[2])
    assert len(domains) == config.attributes == 5


def test_lukau2357s_widths_follow_its_formula_with_capacity_8():
    config, _ = original_config("stylegan2-bilinear")
    # min(max_filters, capacity * 2^(lg(res) - k + 1)) at 2^k px
    assert dict(config.sizes) == {2**k: min(512, 8 * 2 ** (8 - k + 1)) for k in range(2, 9)}
    assert config.resampling == "bilinear"


@pytest.mark.parametrize(
    "config",
    [
        StyleGAN2Config(image_size=32, latent_dim=8, mapping_depth=1, widths=(8, 8, 8, 8)),
        StyleGAN2Config(image_size=32, latent_dim=8, widths=(8, 8, 8, 8), resampling="bilinear", channels=4),
        StarGANv1Config(
            image_size=32, generator_width=8, residual_blocks=1, discriminator_layers=2, attributes=3, classes=0
        ),
        StarGANv2Config(image_size=32, domains=2, style_dim=4, latent_dim=4, mapping_width=8, max_channels=8),
    ],
)
def test_images_spread_about_as_photographs_do(config):
    networks = random_networks(config)
    draws = torch.Generator().manual_seed(3)
    with torch.inference_mode():
        if config.stride is None:
            images = networks.generator(torch.randn(4, config.layers, 8, generator=draws))
        else:
            size = config.label_size if config.family == "stargan_v1" else config.style_dim
            sources = torch.rand(4, 3, 32, 32, generator=draws) * 2 - 1
            images = networks.generator(sources, torch.rand(4, size, generator=draws))
    assert 0.2 < float(images.std()) < 0.9
    assert float((images.abs() > 1).float().mean()) < 0.3
