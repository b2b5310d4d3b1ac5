"""The high-pass path of face models, against the official numbers and against arithmetic written out here."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from face_oracles import SHARED, as_input, formula_weights, load_face_oracle
from torch import Tensor
from torch.nn import functional as F

from starcast.train.families.stargan_v2.networks import (
    Discriminator,
    Generator,
    MappingNetwork,
    StarGANv2Config,
    StyleEncoder,
    build_networks,
    empty_networks,
    random_networks,
)

CELEBA = StarGANv2Config(image_size=256, domains=2, high_pass=1.0)
TINY = StarGANv2Config(
    image_size=64, domains=2, style_dim=4, latent_dim=3, mapping_width=8, channel_base=256, max_channels=8,
    high_pass=2.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "count", "tensors"),
    [(Generator, 43_467_395, 125), (MappingNetwork, 2_438_272, 24), (StyleEncoder, 20_916_928, 35),
     (Discriminator, 20_852_290, 33)],
)  # fmt: skip
def test_networks_have_as_many_parameters_as_the_official_celeba_hq_ones(kind, count, tensors):
    with torch.device("meta"):
        network = kind(CELEBA)
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    extra = 3 if kind in (StyleEncoder, Discriminator) else 0
    assert len(network.state_dict()) in (tensors, tensors + extra)


@pytest.mark.parametrize(
    ("side", "count"), [(64, 42_209_283), (128, 43_206_403), (512, 43_538_499), (1024, 43_559_203)]
)
def test_generators_of_other_sizes_have_the_official_number_of_parameters(side, count):
    with torch.device("meta"):
        network = Generator(StarGANv2Config(image_size=side, domains=2, high_pass=1.0))
    assert sum(parameter.numel() for parameter in network.parameters()) == count


def written_out(state: dict[str, Tensor], x: Tensor, style: Tensor, masks: Tensor | None) -> Tensor:
    """A face generator of 64 px, layer by layer in float64, from its weights alone."""

    def conv(name: str, x: Tensor) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    def norm(x: Tensor) -> Tensor:
        return (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt()

    def affine(name: str, x: Tensor) -> Tensor:
        scale, shift = state[f"{name}.weight"], state[f"{name}.bias"]
        return F.leaky_relu(norm(x) * scale[:, None, None] + shift[:, None, None], 0.2)

    def adain(name: str, x: Tensor) -> Tensor:
        gamma, beta = (style @ state[f"{name}.fc.weight"].T + state[f"{name}.fc.bias"])[:, :, None, None].chunk(2, 1)
        return F.leaky_relu((1 + gamma) * norm(x) + beta, 0.2)

    def halved(x: Tensor) -> Tensor:
        return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4

    x, kept = conv("from_rgb", x), {}
    for number in range(5):  # 64 -> 32 -> 16 -> 8, then twice at 8
        if x.shape[2] >= 32:
            kept[x.shape[2]] = x
        name, shrink = f"encode.{number}", halved if number < 3 else lambda x: x
        residual = conv(
            f"{name}.conv2", affine(f"{name}.norm2", shrink(conv(f"{name}.conv1", affine(f"{name}.norm1", x))))
        )
        shortcut = F.conv2d(x, state[f"{name}.conv1x1.weight"]) if f"{name}.conv1x1.weight" in state else x
        x = (shrink(shortcut) + residual) / math.sqrt(2)
    for number in range(5):
        name = f"decode.{number}"
        x = adain(f"{name}.norm1", x)
        if number >= 2:
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        x = conv(f"{name}.conv2", adain(f"{name}.norm2", conv(f"{name}.conv1", x)))
        side = x.shape[2]
        if masks is not None and side >= 32:
            mask = masks[:, :1] if side == 32 else masks[:, 1:]
            step = 256 // side  # bilinear, corners not aligned: the mean of the four pixels in the middle of a square
            low, high = step // 2 - 1, step // 2
            mask = sum(mask[:, :, a::step, b::step] for a in (low, high) for b in (low, high)) / 4
            edged = F.pad(mask * kept[side], (1, 1, 1, 1))
            around = sum(
                edged[:, :, a : a + side, b : b + side] for a in range(3) for b in range(3) if (a, b) != (1, 1)
            )
            x = x + (8 * mask * kept[side] - around) / 2  # TINY's strength is 2
    x = affine("to_rgb.0", x)
    return (
        torch.einsum("oi,nihw->nohw", state["to_rgb.2.weight"][:, :, 0, 0], x) + state["to_rgb.2.bias"][:, None, None]
    )


def tiny_generator() -> Generator:
    generator = random_networks(TINY, seed=3).generator
    return generator.double().eval()


@torch.no_grad()
@pytest.mark.parametrize("with_masks", [True, False])
def test_a_face_generator_computes_what_is_written_out(with_masks):
    draws = torch.Generator().manual_seed(1)
    source, style = (torch.randn(2, *shape, generator=draws).double() for shape in ((3, 64, 64), (4,)))
    masks = torch.rand(2, 2, 256, 256, generator=draws).double() if with_masks else None
    generator = tiny_generator()
    wanted = written_out(generator.state_dict(), source, style, masks)
    assert (generator(source, style, masks) - wanted).abs().max() < 1e-10


@torch.no_grad()
def test_frames_of_other_sizes_have_masks_that_grow_with_them():
    networks = random_networks(TINY, seed=3)
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    masks = networks.masks(image)
    assert masks is not None
    assert masks.shape == (1, 2, 256, 384)
    assert networks.generator(image, torch.zeros(1, 4), masks).shape == (1, 3, 64, 96)


def test_masks_have_no_gradient_and_change_no_norm():
    networks = random_networks(TINY, seed=3)
    assert networks.fan is not None
    before = {name: value.clone() for name, value in networks.fan.state_dict().items()}
    masks = networks.masks(torch.randn(1, 3, 64, 64, requires_grad=True))
    assert masks is not None
    assert not masks.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in networks.fan.state_dict().items())


def test_a_model_without_high_pass_has_neither_masks_nor_a_landmark_network():
    networks = build_networks(StarGANv2Config(image_size=32, domains=2, channel_base=128, max_channels=8), seed=0)
    assert networks.fan is None
    assert networks.masks(torch.zeros(1, 3, 32, 32)) is None


def test_a_face_model_without_its_landmark_network_has_no_masks():
    networks = build_networks(TINY, seed=0)
    with pytest.raises(ValueError, match="which this set lacks"):
        networks.masks(torch.zeros(1, 3, 64, 64))


# the official numbers


@torch.no_grad()
def test_translations_with_and_without_masks_are_the_officials():
    inputs, outputs = (load_face_oracle(name, "stargan_v2_hpf1") for name in ("inputs.npz", "outputs.npz"))
    config = StarGANv2Config(image_size=256, domains=2, style_dim=16, max_channels=32, high_pass=1.0)
    state = torch.load(SHARED / "stargan_v2_hpf1" / "100000_nets_ema.ckpt", weights_only=True)["generator"]
    generator = Generator(config).eval()
    generator.load_state_dict(state)
    source, style = torch.from_numpy(inputs["x"]), torch.from_numpy(inputs["s"])
    masks = torch.from_numpy(np.concatenate([inputs["mask0_u8"], inputs["mask1_u8"]], axis=1)) / 255
    near(generator(source, style, masks), outputs["g_masked"])
    inner = (slice(0, 1), slice(None), slice(64, 192), slice(64, 192))
    near(generator(source[:1], style[:1])[inner], outputs["g_no_mask_first_crop"])
    generator.hpf.filter.div_(2)
    near(generator(source[:1], style[:1], masks[:1])[inner], outputs["g_masked_filter_halved_first_crop"])


@torch.no_grad()
def test_the_whole_face_model_is_the_official_one():
    oracle = load_face_oracle("chain.npz")
    networks = empty_networks(
        StarGANv2Config(image_size=256, domains=2, style_dim=16, latent_dim=8, max_channels=64, high_pass=1.0),
        training=False,
    ).eval()
    for salt, name in enumerate(("generator", "mapping_network", "style_encoder", "fan"), start=41):
        module = getattr(networks, name)
        own = module.state_dict()
        state = formula_weights(own, salt)
        if name == "generator":
            state["hpf.filter"] = torch.tensor([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]])
        elif name == "fan":
            state["l0.weight"] /= 1024
            state["l0.bias"].fill_(-0.6)
        module.load_state_dict(state)
    source, reference = as_input(oracle["image_u8"]), as_input(oracle["ref_u8"])
    style = networks.style_encoder(reference, torch.from_numpy(oracle["y_trg"]))
    assert (style - torch.from_numpy(oracle["style_reference"])).abs().max() < 1e-4
    masks = networks.masks(source)
    assert masks is not None
    assert np.abs(masks.mean((0, 2, 3)).numpy() - oracle["masks_mean"]).max() < 1e-5
    image = networks.generator(source, style, masks)
    near(image[:, :, 64:128, 64:128], oracle["g_reference_crop"])
    pixels = ((image + 1) * 127.5 + 0.5).clamp(0, 255).byte().permute(0, 2, 3, 1).int()
    assert (pixels - torch.from_numpy(oracle["g_reference_u8"]).int()).abs().max() <= 1


def near(found: Tensor, wanted: np.ndarray) -> None:
    assert (found - torch.from_numpy(wanted)).abs().max() < 1e-3
