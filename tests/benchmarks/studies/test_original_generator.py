"""StyleGAN2 in the originals' arithmetic is the same network."""

from __future__ import annotations

import pytest
import torch

from starcast.benchmarks.bench.random_weights import original_config
from starcast.benchmarks.studies.original_generator import LAYOUTS, Original
from starcast.train.families.stylegan2.networks import StyleGAN2Config, random_networks


@pytest.mark.parametrize("resampling", ["transposed", "bilinear"])
def test_both_forms_make_the_same_images_in_float64(resampling):
    config = StyleGAN2Config(image_size=32, latent_dim=6, mapping_depth=1, widths=(8, 6, 4, 4), resampling=resampling)
    network = random_networks(config).generator.double()
    draws = torch.Generator().manual_seed(0)
    styles = torch.randn(3, config.layers, 6, generator=draws, dtype=torch.float64)
    noise = [torch.randn(3, 1, side, side, generator=draws, dtype=torch.float64) for side in config.noise_sides]
    original = Original(network, config.fir_filter, resampling == "transposed")
    with torch.inference_mode():
        torch.testing.assert_close(original(styles, noise), network(styles, noise), rtol=1e-9, atol=1e-9)


def test_the_layouts_are_those_that_bench_measures():
    assert {name: original_config(name)[0].resampling for name in LAYOUTS} == {
        "stylegan2": "transposed", "stylegan2-bilinear": "bilinear",
    }  # fmt: skip
