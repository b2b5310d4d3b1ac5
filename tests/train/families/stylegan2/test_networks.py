"""Arithmetic and sizes of the networks, against the numbers of both original programs and the papers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from stylegan2_oracles import (
    IMAGES,
    LUKAU2357,
    ROSINALITY,
    STYLES,
    facts,
    load,
    lukau2357_content,
    lukau2357_model,
    numbers,
)
from torch import Tensor

from starcast.errors import OptionError
from starcast.train.families.stylegan2.layers import BatchDeviation, Filter, ModulatedConv
from starcast.train.families.stylegan2.lukau2357 import read_lukau2357
from starcast.train.families.stylegan2.networks import (
    Discriminator,
    Generator,
    MappingNetwork,
    Networks,
    StyleGAN2Config,
    build_networks,
    empty_networks,
    mean_of_styles,
    mix_styles,
    truncate,
)
from starcast.train.families.stylegan2.rosinality import read_rosinality
from starcast.train.samples import to_pixels


def networks_of(checkpoint: Any) -> Networks:
    """The averaged networks, and the discriminator."""
    networks = empty_networks(checkpoint.config, training=True)
    for name, module in networks.items():
        module.load_state_dict({**checkpoint.networks, **checkpoint.averaged}[name])
    return networks.eval()


@pytest.fixture(scope="module")
def rosinality() -> Networks:
    return networks_of(read_rosinality(ROSINALITY / "000000.pt", load(ROSINALITY / "000000.pt")))


@pytest.fixture(scope="module")
def lukau2357(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    model = lukau2357_model(tmp_path_factory.mktemp("lukau2357") / "model")
    checkpoint = read_lukau2357(model, lukau2357_content(model / "checkpoint_2"))
    return networks_of(checkpoint)


def near(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    np.testing.assert_allclose(actual.detach().numpy(), expected.numpy(), rtol=0, atol=tolerance)


def by_layer(style: Tensor) -> Tensor:
    return style[:, None].expand(-1, 8, -1)


def test_styles_images_and_logits_are_rosinalitys(rosinality: Networks) -> None:
    oracle = numbers(ROSINALITY)
    style = rosinality.mapping_network(oracle["z"])
    near(style, oracle["w"], STYLES)
    near(by_layer(style), oracle["latents"], STYLES)
    image = rosinality.generator(by_layer(style))
    near(image, oracle["image"], IMAGES)
    pixels = to_pixels(image).permute(0, 2, 3, 1)
    difference = (pixels.int() - oracle["image_u8"].int()).abs()
    assert int(difference.max()) <= 1
    assert float((difference > 0).float().mean()) <= 0.01
    noise = [oracle[f"noise_{number}"] for number in range(7)]
    near(rosinality.generator(by_layer(style), noise), oracle["image_external_noise"], IMAGES)
    assert rosinality.discriminator is not None
    shown = image.clamp(-1, 1)
    near(rosinality.discriminator(shown)[:, None], oracle["d_logits_batch"], STYLES)
    alone = torch.cat([rosinality.discriminator(one[None]) for one in shown])
    near(alone[:, None], oracle["d_logits_one_by_one"], STYLES)


def test_truncation_and_mixing_are_rosinalitys(rosinality: Networks) -> None:
    oracle = numbers(ROSINALITY)
    style, other = (rosinality.mapping_network(oracle[name]) for name in ("z", "z2"))
    pulled = truncate(style, oracle["latent_avg"], 0.7)
    near(rosinality.generator(by_layer(pulled)), oracle["image_trunc07"], IMAGES)
    mixed = mix_styles(style, other, torch.full((4,), 3), 8)
    near(rosinality.generator(mixed), oracle["image_mixed_inject3"], IMAGES)


def test_styles_images_and_logits_are_lukau2357s(lukau2357: Networks) -> None:
    oracle = numbers(LUKAU2357)
    style = lukau2357.mapping_network(oracle["z"])
    near(style, oracle["w"], STYLES)
    pulled = truncate(style, lukau2357.mapping_network.mean, 0.7)
    near(pulled, oracle["w_trunc07"], STYLES)
    # the original takes the first image's noise at 4x4 for all
    noise = [oracle["noise_4x4"][:1], *(oracle[f"noise_{side}_{half}"] for side in (8, 16, 32) for half in "ab")]
    image = lukau2357.generator(by_layer(style), noise)
    near(image, oracle["image"], IMAGES)
    near(lukau2357.generator(by_layer(pulled), noise), oracle["image_trunc07"], IMAGES)
    assert lukau2357.discriminator is not None
    near(lukau2357.discriminator(oracle["image"].clamp(-1, 1))[:, None], oracle["d_logits"], STYLES)
    grid = torch.cat([torch.cat(list(image[2 * row : 2 * row + 2]), dim=2) for row in range(2)], dim=1)
    pixels = ((grid + 1) * 127.5).round().clamp(0, 255).permute(1, 2, 0)
    difference = (pixels - oracle["grid_2rows_u8"].float()).abs()
    assert float(difference.max()) <= 1
    assert float((difference > 0).float().mean()) <= 0.01


def test_every_image_has_its_own_noise_in_the_first_layer(lukau2357: Networks) -> None:
    """lukau2357's program gives all images of a batch the first one's."""
    oracle = numbers(LUKAU2357)
    styles = by_layer(lukau2357.mapping_network(oracle["z"]))
    noise = [oracle["noise_4x4"], *(oracle[f"noise_{side}_{half}"] for side in (8, 16, 32) for half in "ab")]
    image = lukau2357.generator(styles, noise)
    near(image[:1], oracle["image"][:1], IMAGES)
    for number in range(1, 4):
        alone = lukau2357.generator(
            styles[number : number + 1], [plane[number : number + 1] for plane in noise]
        )  # fmt: skip
        near(image[number : number + 1], alone, 1e-4)
        assert float((image[number] - oracle["image"][number]).abs().max()) > 0.01


def test_parameter_counts_are_the_published_ones() -> None:
    """rosinality's networks at 256 px, multipliers 2 and 1, and at 1024 px, multiplier 2."""
    widths = {256: (512, 512, 512, 512, 256, 128, 64), 1024: (512, 512, 512, 512, 256, 128, 64, 32, 16)}
    for size, factor, generator, discriminator in (
        (256, 2, 30_034_338, 28_864_129),
        (256, 1, 24_767_458, 24_001_089),
        (1024, 2, 30_370_060, 29_012_513),
    ):
        own = tuple(width * (1 if number < 4 else factor) for number, width in enumerate(widths[size]))
        with torch.device("meta"):
            config = StyleGAN2Config(image_size=size, widths=own)
            networks = Networks(MappingNetwork(config), Generator(config), Discriminator(config))
        counts = {name: sum(p.numel() for p in module.parameters()) for name, module in networks.items()}
        assert counts["mapping_network"] + counts["generator"] == generator
        assert counts["discriminator"] == discriminator


def test_counts_and_widths_are_the_oracles(rosinality: Networks, lukau2357: Networks) -> None:
    def count(*modules: Any) -> int:
        return sum(parameter.numel() for module in modules for parameter in module.parameters())

    counts = facts(ROSINALITY)["counts"]
    assert count(rosinality.mapping_network, rosinality.generator) == counts["G"]
    assert count(rosinality.discriminator) == counts["D"]
    counts = facts(LUKAU2357)["counts"]  # with 16 numbers of each of its filters, and with the mean style
    assert count(lukau2357.mapping_network) + 32 == counts["MN"]
    assert count(lukau2357.generator) + 16 == counts["G"]
    assert count(lukau2357.discriminator) + 6 * 16 == counts["D"]
    seed = StyleGAN2Config(image_size=32, capacity=4, max_channels=48)
    assert list(seed.sizes.values()) == facts(LUKAU2357)["generator_filters"]


@torch.no_grad()
def test_fresh_networks_keep_the_variance() -> None:
    """Equalised layers keep unit variance, so that styles and features start near 1 (Karras et al. 2018)."""
    networks = build_networks(StyleGAN2Config(image_size=32, latent_dim=64, capacity=8, max_channels=64), seed=3)
    latent = torch.randn(512, 64, generator=torch.Generator().manual_seed(0))
    style = networks.mapping_network(latent)
    assert float(style.square().mean().sqrt()) == pytest.approx(1, abs=0.3)
    features = networks.generator.first(
        networks.generator.start.expand(512, -1, -1, -1), style, networks.generator.stored_noise[0]
    )
    assert float(features.square().mean().sqrt()) == pytest.approx(1, abs=0.3)


def test_the_seed_alone_decides_the_networks() -> None:
    config = StyleGAN2Config(image_size=8, latent_dim=4, capacity=2, mapping_depth=2)
    torch.manual_seed(1)
    one, other = build_networks(config, 7), build_networks(config, 7)
    another = build_networks(config, 8)
    for name, module in one.items():
        for key, value in module.state_dict().items():
            assert torch.equal(value, dict(other.items())[name].state_dict()[key])
    assert not torch.equal(one.generator.start, another.generator.start)


def test_modulation_equals_scaled_weights() -> None:
    """Karras et al. 2020, eq. 1 and 3: scaling the weights by the style and dividing them by their norm."""
    draws = torch.Generator().manual_seed(0)
    conv = ModulatedConv(4, 3, 5, 3).double()
    for parameter in conv.parameters():
        parameter.data.normal_(generator=draws)
    x = torch.randn(2, 3, 6, 6, generator=draws, dtype=torch.float64)
    style = torch.randn(2, 4, generator=draws, dtype=torch.float64)
    scale = style @ conv.affine.weight.T / 2 + conv.affine.bias  # 2: the square root of its 4 inputs
    for number in range(2):
        weight = conv.weight / np.sqrt(27) * scale[number][None, :, None, None]
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        expected = torch.nn.functional.conv2d(x[number : number + 1], weight, padding=1)
        torch.testing.assert_close(conv(x, style)[number : number + 1], expected)


@pytest.mark.parametrize(("count", "group"), [(8, 4), (4, 4), (6, 3), (5, 1), (3, 3)])
def test_the_deviation_is_that_of_interleaved_groups(count: int, group: int) -> None:
    """Groups of at most four: image i is in group i mod (count / size)."""
    x = torch.randn(count, 6, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    planes = BatchDeviation(4, 2)(x)[:, 6:]
    for number in range(count):
        members = x[number % (count // group) :: count // group]
        for channel, share in enumerate((slice(0, 3), slice(3, 6))):
            deviation = (members[:, share].var(0, unbiased=False) + 1e-8).sqrt().mean()
            torch.testing.assert_close(planes[number, channel], deviation.expand(4, 4))


def test_a_filter_is_two_passes_of_its_taps() -> None:
    x = torch.randn(1, 2, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel = torch.outer(*2 * [torch.tensor([1, 3, 3, 1], dtype=torch.float64)]) / 64
    padded = torch.nn.functional.pad(x, (2, 1, 2, 1))
    expected = torch.nn.functional.conv2d(padded, kernel.expand(2, 1, 4, 4), groups=2)
    torch.testing.assert_close(Filter((1, 3, 3, 1), 2, 1)(x), expected)
    torch.testing.assert_close(Filter((1, 3, 3, 1), 2, 1, gain=2, stride=2)(x), 4 * expected[:, :, ::2, ::2])


@pytest.mark.parametrize("resampling", ["transposed", "bilinear"])
@pytest.mark.parametrize("taps", [(1.0, 1.0), (1.0, 2.0, 1.0), (1.0, 3.0, 3.0, 1.0), (1.0, 4.0, 6.0, 4.0, 1.0)])
def test_every_filter_gives_images_of_the_right_size(resampling: str, taps: tuple[float, ...]) -> None:
    config = StyleGAN2Config(
        image_size=16, latent_dim=4, capacity=2, mapping_depth=1, channels=1, resampling=resampling, fir_filter=taps,
        tanh=True,
    )  # fmt: skip
    networks = build_networks(config, 0)
    assert networks.discriminator is not None
    image = networks.generator(torch.randn(2, config.layers, 4))
    assert image.shape == (2, 1, 16, 16)
    assert float(image.detach().abs().max()) < 1
    assert networks.discriminator(image).shape == (2,)


def test_the_mean_of_styles_is_that_of_every_latent() -> None:
    networks = build_networks(StyleGAN2Config(image_size=8, latent_dim=4, capacity=2, mapping_depth=2), 0)
    latents = torch.randn(5000, 4, generator=torch.Generator().manual_seed(0))
    expected = networks.mapping_network(latents).double().mean(0).float()
    torch.testing.assert_close(mean_of_styles(networks.mapping_network, latents), expected)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_size": 48}, "--image-size is 48: give a power of two"),
        ({"channels": 2}, "--channels is 2"),
        ({"widths": (8, 8)}, "--widths is 8,8: give 4 positive numbers, from 4x4 to 32x32"),
        ({"fir_filter": (1.0, 2.0)}, "--fir-filter is 1,2"),
        ({"deviation_channels": 7}, "--deviation-channels is 7: give a divisor of 512"),
    ],
)
def test_shapes_that_cannot_be_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        StyleGAN2Config(**{"image_size": 32, **changes})
