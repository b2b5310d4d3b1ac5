"""Both networks give the official program's numbers, and have its sizes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from starcast.errors import OptionError
from starcast.train.families.stargan_v1.networks import (
    Discriminator,
    Generator,
    StarGANv1Config,
    averaged_copy,
    build_networks,
    random_networks,
)
from starcast.train.samples import to_pixels

TINY = StarGANv1Config(
    image_size=16, generator_width=4, discriminator_width=3, residual_blocks=1, discriminator_layers=2,
    attributes=2, classes=3,
)  # fmt: skip


def parameters_of(network: torch.nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


@torch.no_grad()
def test_the_generator_gives_the_official_images_whatever_the_running_statistics(official_networks, oracle):
    for generator in (official_networks.generator, averaged_copy(official_networks).generator):
        images = generator(oracle["x"], oracle["label_trg"])
        torch.testing.assert_close(images, oracle["g_instance_stats"], rtol=0, atol=1e-3)
        pixels = to_pixels(images).permute(0, 2, 3, 1).int()
        differences = (pixels - oracle["g_instance_stats_u8"].int()).abs()
        assert differences.max() <= 1
        assert (differences > 0).float().mean() <= 0.01
    assert (oracle["g_running_stats"] - oracle["g_instance_stats"]).abs().max() > 0.1  # what eval mode would give


@torch.no_grad()
def test_the_discriminator_gives_the_official_patches_and_logits(official_networks, oracle):
    patches, logits = official_networks.discriminator(oracle["x"])
    torch.testing.assert_close(patches, oracle["d_src"], rtol=0, atol=1e-4)
    torch.testing.assert_close(logits, oracle["d_cls"], rtol=0, atol=1e-4)
    assert torch.equal(official_networks.discriminator.judge(oracle["x"]), patches)
    assert torch.equal(official_networks.discriminator.classify(oracle["x"]), logits)


@pytest.mark.parametrize(
    ("sizes", "generator", "discriminator"),
    [
        ({"attributes": 5, "classes": 0}, 8_430_528, 44_762_048),
        ({"attributes": 5, "classes": 0, "image_size": 256}, 8_430_528, 44_884_928),
        ({"attributes": 5, "classes": 8, "image_size": 256}, 8_461_888, 45_147_072),
    ],
)
def test_the_official_sizes_have_the_official_number_of_parameters(sizes, generator, discriminator):
    with torch.device("meta"):
        config = StarGANv1Config(**sizes)
        assert parameters_of(Generator(config)) == generator
        assert parameters_of(Discriminator(config)) == discriminator


def test_the_parameters_have_the_official_names():
    with torch.device("meta"):
        generator = Generator(StarGANv1Config(attributes=5, classes=0)).state_dict()
    inner = {f"main.{block}.main.{layer}.weight" for block in range(9, 15) for layer in (0, 1, 3, 4)}
    outer = {f"main.{layer}.weight" for layer in (0, 1, 3, 4, 6, 7, 15, 16, 18, 19, 21)}
    assert {name for name in generator if name.endswith("weight")} == inner | outer
    assert tuple(generator["main.15.weight"].shape) == (256, 128, 4, 4)


@settings(max_examples=10, deadline=None)
@given(height=st.integers(1, 6), width=st.integers(1, 6))
def test_any_size_that_is_a_multiple_of_the_stride_is_translated(height, width):
    size = (4 * height + 4, 4 * width + 4)
    generator = random_networks(TINY).generator
    image = generator(torch.zeros(2, 3, *size), torch.zeros(2, TINY.label_size))
    assert tuple(image.shape) == (2, 3, *size)
    assert image.abs().max() <= 1


def test_every_label_steers_the_image():
    generator, labels = random_networks(TINY).generator, torch.eye(TINY.label_size)
    images = generator(torch.zeros(len(labels), 3, 16, 16), labels)
    assert (torch.cdist(images.flatten(1), images.flatten(1)) + torch.eye(len(labels))).min() > 0


def test_networks_are_a_function_of_the_seed_alone():
    before = torch.get_rng_state()
    first, second, third = (build_networks(TINY, seed).state_dicts() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name][key], second[name][key]) for name in first for key in first[name])
    assert not torch.equal(first["generator"]["main.0.weight"], third["generator"]["main.0.weight"])


def test_they_start_as_pytorch_starts_such_layers():
    """Uniform within 1 / sqrt(fan in): 3 + 7 planes of 7x7 for the generator's first layer, 3 of 4x4 for the other."""
    networks = build_networks(TINY, 0)
    for weight, fan_in in (
        (networks.generator.main[0].weight, 10 * 49),
        (networks.discriminator.main[0].weight, 3 * 16),
        (networks.discriminator.main[0].bias, 3 * 16),
    ):
        assert 0.5 < float(weight.detach().abs().max()) * fan_in**0.5 <= 1


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"image_size": 34}, "multiple of 4"),
        ({"image_size": 32, "discriminator_layers": 6}, "give at most 5"),
        ({"attributes": 0, "classes": 0}, "at least one"),
    ],
)
def test_sizes_that_no_networks_can_have_are_refused(values, sentence):
    with pytest.raises(OptionError, match=sentence):
        StarGANv1Config(**{"attributes": 1, "classes": 0, **values})
