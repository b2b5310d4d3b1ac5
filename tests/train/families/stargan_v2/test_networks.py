"""Names, sizes and arithmetic of the networks, against the official program's own numbers and shapes."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from starcast.errors import OptionError
from starcast.train.checkpoint.file import averaged_networks, read_checkpoint
from starcast.train.families.stargan_v2.networks import (
    Discriminator,
    Generator,
    MappingNetwork,
    Networks,
    StarGANv2Config,
    StyleEncoder,
    averaged_copy,
    build_networks,
)

ORACLE = Path(__file__).resolve().parents[3] / "oracles" / "stargan_v2_hpf0"

AFHQ = StarGANv2Config(image_size=256, domains=3)
SMALL_256 = StarGANv2Config(
    image_size=256, domains=3, style_dim=16, latent_dim=8, mapping_width=64, max_channels=32
)  # the oracle's
TINY = StarGANv2Config(
    image_size=64, domains=2, style_dim=4, latent_dim=3, mapping_width=8, channel_base=256, max_channels=8
)
KINDS = {
    "generator": Generator,
    "mapping_network": MappingNetwork,
    "style_encoder": StyleEncoder,
    "discriminator": Discriminator,
}


def shapes(kind: str, config: StarGANv2Config) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's state_dict, which holds no values."""
    with torch.device("meta"):
        network = KINDS[kind](config)
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def parameters(kind: str, config: StarGANv2Config) -> int:
    return sum(math.prod(shape) for shape in shapes(kind, config).values())


def layer(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    """A weight of this shape and the bias that goes with it."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def shortcut(name: str, channels_in: int, channels_out: int) -> dict[str, tuple[int, ...]]:
    if channels_in == channels_out:
        return {}
    return {f"{name}.conv1x1.weight": (channels_out, channels_in, 1, 1)}


def trunk(prefix: str) -> dict[str, tuple[int, ...]]:
    """The layers that style encoder and discriminator have in common, at 256 px."""
    expected = layer(f"{prefix}.0", 64, 3, 3, 3)
    widths = [64, 128, 256, 512, 512, 512, 512]
    for number, (before, after) in enumerate(itertools.pairwise(widths), start=1):
        expected |= layer(f"{prefix}.{number}.conv1", before, before, 3, 3)
        expected |= layer(f"{prefix}.{number}.conv2", after, before, 3, 3)
        expected |= shortcut(f"{prefix}.{number}", before, after)
    return expected | layer(f"{prefix}.8", 512, 512, 4, 4)


def test_generator_has_the_official_names_and_shapes():
    expected = layer("from_rgb", 64, 3, 3, 3)
    for number, (before, after) in enumerate([(64, 128), (128, 256), (256, 512), (512, 512), (512, 512), (512, 512)]):
        expected |= layer(f"encode.{number}.conv1", before, before, 3, 3)
        expected |= layer(f"encode.{number}.conv2", after, before, 3, 3)
        expected |= layer(f"encode.{number}.norm1", before) | layer(f"encode.{number}.norm2", before)
        expected |= shortcut(f"encode.{number}", before, after)
    for number, (before, after) in enumerate([(512, 512), (512, 512), (512, 512), (512, 256), (256, 128), (128, 64)]):
        expected |= layer(f"decode.{number}.conv1", after, before, 3, 3)
        expected |= layer(f"decode.{number}.conv2", after, after, 3, 3)
        expected |= layer(f"decode.{number}.norm1.fc", 2 * before, 64)
        expected |= layer(f"decode.{number}.norm2.fc", 2 * after, 64)
        expected |= shortcut(f"decode.{number}", before, after)
    expected |= layer("to_rgb.0", 64) | layer("to_rgb.2", 3, 64, 1, 1)
    assert shapes("generator", AFHQ) == expected
    assert len(expected) == 108


def test_mapping_network_has_the_official_names_and_shapes():
    expected = layer("shared.0", 512, 16)
    for number in (2, 4, 6):
        expected |= layer(f"shared.{number}", 512, 512)
    for domain in range(3):
        for number in (0, 2, 4):
            expected |= layer(f"unshared.{domain}.{number}", 512, 512)
        expected |= layer(f"unshared.{domain}.6", 64, 512)
    assert shapes("mapping_network", AFHQ) == expected
    assert len(expected) == 32


def test_style_encoder_has_the_official_names_and_shapes():
    expected = trunk("shared")
    for domain in range(3):
        expected |= layer(f"unshared.{domain}", 64, 512)
    assert shapes("style_encoder", AFHQ) == expected
    assert len(expected) == 37


def test_discriminator_has_the_official_names_and_shapes():
    expected = trunk("main") | layer("main.10", 3, 512, 1, 1)
    assert shapes("discriminator", AFHQ) == expected
    assert len(expected) == 33


@pytest.mark.parametrize(
    ("kind", "count"), [("mapping_network", 24), ("style_encoder", 35), ("discriminator", 33)], ids=lambda x: str(x)
)
def test_two_domains_have_the_official_number_of_tensors(kind, count):
    assert len(shapes(kind, StarGANv2Config(image_size=256, domains=2))) == count


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("generator", 33_892_995),
        ("mapping_network", 3_259_072),
        ("style_encoder", 20_949_760),
        ("discriminator", 20_852_803),
    ],
)
def test_networks_for_afhq_have_the_official_number_of_parameters(kind, count):
    assert parameters(kind, AFHQ) == count


@pytest.mark.parametrize(
    ("kind", "count"),
    [("mapping_network", 2_438_272), ("style_encoder", 20_916_928), ("discriminator", 20_852_290)],
)
def test_networks_for_two_domains_have_the_number_of_parameters_that_the_original_prints(kind, count):
    assert parameters(kind, StarGANv2Config(image_size=256, domains=2)) == count


@pytest.mark.parametrize(
    ("kind", "count"),
    [("generator", 317_027), ("mapping_network", 53_616), ("style_encoder", 169_712), ("discriminator", 168_227)],
)
def test_narrow_networks_have_the_official_number_of_parameters(kind, count):
    assert parameters(kind, SMALL_256) == count


@pytest.mark.parametrize(
    ("size", "count"), [(64, 32_634_883), (128, 33_632_003), (512, 33_964_099), (1024, 33_984_803)]
)
def test_generators_of_other_sizes_have_the_official_number_of_parameters(size, count):
    assert parameters("generator", StarGANv2Config(image_size=size, domains=3)) == count


@pytest.mark.parametrize("size", [-64, 0, 1, 8, 16, 33, 48, 255])
def test_a_size_that_cannot_be_built_is_refused_with_what_can(size):
    with pytest.raises(OptionError, match=f"--image-size is {size}: give (a power of two of )?at least 32"):
        StarGANv2Config(image_size=size, domains=2)


@pytest.mark.parametrize("name", ["domains", "style_dim", "latent_dim", "mapping_width", "max_channels"])
def test_a_dimension_of_nothing_is_refused_by_its_name(name):
    with pytest.raises(OptionError, match=f"{name.replace('_', '-')} is 0: give at least 1"):
        StarGANv2Config(**{"image_size": 32, "domains": 2, name: 0})


def test_too_few_channels_for_the_size_are_refused():
    with pytest.raises(OptionError, match="--channel-base is 100, .* at --image-size 128: give at least 128"):
        StarGANv2Config(image_size=128, domains=2, channel_base=100)


def test_convolutions_and_linear_layers_start_kaiming_normal_without_biases():
    config = StarGANv2Config(image_size=32, domains=2, style_dim=32, latent_dim=16, channel_base=1024, max_channels=64)
    for _, network in build_networks(config, seed=5).items():
        for name, module in network.named_modules():
            if not isinstance(module, nn.Conv2d | nn.Linear):
                continue
            weight = module.weight.detach()
            wanted = math.sqrt(2 / weight[0].numel())  # fan in
            # The estimate's own spread is wanted / sqrt(2 n): six of them never happen by chance.
            assert float(weight.std()) == pytest.approx(wanted, rel=6 / math.sqrt(2 * weight.numel())), name
            assert abs(float(weight.mean())) < 6 * wanted / math.sqrt(weight.numel()), name
            assert module.bias is None or not module.bias.any(), name


def test_norms_start_as_one_and_nothing():
    for name, value in build_networks(TINY, seed=5).generator.named_parameters():
        if ("norm" in name and ".fc." not in name) or name.startswith("to_rgb.0"):
            assert torch.equal(value, torch.full_like(value, float(name.endswith("weight")))), name


def test_initialisation_depends_on_the_seed_alone_and_leaves_the_global_state():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = build_networks(TINY, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    same, other = build_networks(TINY, seed=5), build_networks(TINY, seed=6)
    assert equal(one, same)
    assert not equal(one, other)


def test_the_average_starts_equal_to_the_networks_apart_from_them_and_without_gradients():
    networks = build_networks(TINY, seed=5)
    average = averaged_copy(networks)
    assert [name for name, _ in average.items()] == ["generator", "mapping_network", "style_encoder"]
    assert equal(average, networks)
    for name, module in average.items():
        theirs = dict(getattr(networks, name).named_parameters())
        for parameter_name, parameter in module.named_parameters():
            assert not parameter.requires_grad
            assert parameter.data_ptr() != theirs[parameter_name].data_ptr()


def equal(ones: Networks, others: Networks) -> bool:
    theirs = others.state_dicts()
    return all(
        torch.equal(value, theirs[name][key])
        for name, state in ones.state_dicts().items()
        for key, value in state.items()
    )


def test_features_of_a_source_serve_every_style():
    generator = build_networks(TINY, seed=1).eval().generator
    source = noise(2, 3, 64, 64)
    features = generator.encode_source(source)
    assert [kept.shape for kept in features] == [(2, 8, 16, 16)]
    for style in (noise(2, 4, seed=1), noise(2, 4, seed=2)):
        assert torch.equal(generator.decode_features(features, style), generator(source, style))


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 2))
def test_any_multiple_of_the_stride_is_translated_at_its_own_size(rows, columns, batch):
    generator = build_networks(TINY, seed=1).eval().generator
    assert TINY.stride == 4
    # A single feature has no spread to be normalised by, so one side at least is two.
    height, width = 4 * rows, 4 * max(columns, 2)
    image = generator(noise(batch, 3, height, width), noise(batch, 4))
    assert image.shape == (batch, 3, height, width)
    assert image.isfinite().all()


@pytest.mark.parametrize(("size", "stride"), [(32, 2), (64, 4), (256, 16), (1024, 64)])
def test_features_are_sixteen_wide_at_the_size_of_training(size, stride):
    assert StarGANv2Config(image_size=size, domains=1).stride == stride


def test_a_sample_gets_its_own_domains_head_whatever_stands_beside_it():
    networks = build_networks(TINY, seed=3).eval()
    latent, image = noise(1, 3), noise(1, 3, 64, 64)
    both = torch.tensor([1, 0])
    for network, sample in [(networks.mapping_network, latent), (networks.style_encoder, image)]:
        together = network(sample.expand(2, *sample.shape[1:]), both)
        assert not torch.allclose(together[0], together[1])
        for row, domain in enumerate(both):
            close(network(sample, domain[None])[0], together[row])


def test_a_style_shifts_and_scales_a_normalised_map():
    """A decoder's norm on a map of known mean and variance: (1 + gamma) * (x - mean) / sqrt(var + 1e-5) + beta, and a
    fifth of it below 0."""
    norm = build_networks(TINY, seed=3).eval().generator.decode[0].norm1
    with torch.no_grad():
        norm.fc.weight.zero_()
        norm.fc.bias.copy_(torch.arange(16.0) / 10)  # gammas 0 … 0.7, betas 0.8 … 1.5
    x = torch.tensor([[1.0, 3.0], [5.0, 7.0]]).expand(1, 8, 2, 2)  # mean 4, biased variance 5
    styled = norm(x, torch.zeros(1, 4))
    for channel in range(8):
        gamma, beta = channel / 10, 0.8 + channel / 10
        wanted = (1 + gamma) * (x[0, channel] - 4) / math.sqrt(5 + 1e-5) + beta
        torch.testing.assert_close(styled[0, channel], torch.where(wanted > 0, wanted, 0.2 * wanted))


@pytest.fixture(scope="module")
def oracle() -> dict[str, Tensor]:
    """The official program's inputs and outputs; images as (N, 3, H, W) in -1..1."""
    files = ("inputs", "styles", "outputs_latent", "outputs_reference", "discriminator")
    found = {}
    for name in files:
        with np.load(ORACLE / f"{name}.npz") as arrays:
            found |= {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    found["ref"] = (found["ref_u8"].permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    return found


@pytest.fixture(scope="module")
def official() -> Networks:
    networks = averaged_networks(read_checkpoint(ORACLE / "100000_nets_ema.ckpt"))
    networks.discriminator = Discriminator(SMALL_256)
    states = torch.load(ORACLE / "100000_nets.ckpt", weights_only=True)
    networks.discriminator.load_state_dict(states["discriminator"])
    return networks.eval()


@torch.no_grad()
def test_styles_from_latents_are_the_officials_in_every_domain(official, oracle):
    close(official.mapping_network(oracle["z"], oracle["y_trg"]), oracle["s_latent"])
    for domain in range(3):
        style = official.mapping_network(oracle["z"], torch.tensor([domain, domain]))
        close(style, oracle["s_latent_all_domains"][:, domain])


@torch.no_grad()
def test_styles_of_references_are_the_officials_in_every_domain(official, oracle):
    close(official.style_encoder(oracle["ref"], oracle["y_trg"]), oracle["s_ref"])
    close(official.style_encoder(oracle["x"], oracle["y_src"]), oracle["s_src"])
    for domain in range(3):
        style = official.style_encoder(oracle["ref"], torch.tensor([domain, domain]))
        close(style, oracle["s_ref_all_domains"][:, domain])


@torch.no_grad()
def test_translations_to_latent_styles_are_the_officials(official, oracle):
    style = official.mapping_network(oracle["z"], oracle["y_trg"])
    close(official.generator(oracle["x"], style), oracle["g_latent"])


@torch.no_grad()
def test_translations_to_reference_styles_and_back_are_the_officials(official, oracle):
    style = official.style_encoder(oracle["ref"], oracle["y_trg"])
    translation = official.generator(oracle["x"], style)
    close(translation, oracle["g_reference"])
    back = official.generator(translation[:1], official.style_encoder(oracle["x"], oracle["y_src"])[:1])
    close(back[:, :, 64:192, 64:192], oracle["g_cycle_first_crop"])


@torch.no_grad()
def test_translations_to_truncated_styles_are_the_officials(official, oracle):
    pool, count = oracle["z_pool"], len(oracle["z_pool"])
    means = torch.stack([official.mapping_network(pool, torch.full((count,), k)).mean(0) for k in range(3)])
    close(means, oracle["s_avg"])
    style = torch.lerp(means[oracle["y_trg"]], official.mapping_network(oracle["z"], oracle["y_trg"]), 0.7)
    close(style, oracle["s_psi07"])
    image = official.generator(oracle["x"][:1], style[:1])
    close(image[:, :, 64:192, 64:192], oracle["g_psi07_first_crop"])


@torch.no_grad()
def test_logits_are_the_officials_in_every_domain(official, oracle):
    discriminator = official.discriminator
    close(discriminator(oracle["x"], oracle["y_src"]), oracle["d_real"])
    close(discriminator(oracle["g_latent"], oracle["y_trg"]), oracle["d_fake_latent"])
    every = torch.stack([discriminator(oracle["x"], torch.tensor([k, k])) for k in range(3)], dim=1)
    close(every, oracle["d_all_domains_real"])


def close(found: Tensor, wanted: Tensor) -> None:
    """Within 1e-4, or a part in 10,000 of what is larger than one."""
    assert found.shape == wanted.shape
    limit = 1e-4 * wanted.abs().clamp(min=1)
    assert ((found - wanted).abs() <= limit).all(), float((found - wanted).abs().max())


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
