"""The losses, against the original program's numbers and against arithmetic in float64."""

from __future__ import annotations

import math

import pytest
import torch
from stylegan2_oracles import ROSINALITY, facts, load, numbers

from starcast.train.data.batch import to_signed
from starcast.train.families.stylegan2.losses import (
    gradient_penalty,
    looks_fake,
    looks_real,
    path_lengths,
    path_penalty,
    r1_penalty,
)
from starcast.train.families.stylegan2.networks import empty_networks
from starcast.train.families.stylegan2.rosinality import read_rosinality


def test_losses_penalties_and_path_lengths_are_rosinalitys() -> None:
    checkpoint = read_rosinality(ROSINALITY / "000000.pt", load(ROSINALITY / "000000.pt"))
    networks = empty_networks(checkpoint.config, training=True)
    for name, module in networks.items():
        module.load_state_dict({**checkpoint.networks, **checkpoint.averaged}[name])
    oracle, expected = numbers(ROSINALITY), facts(ROSINALITY)["losses"]
    assert networks.discriminator is not None
    real = to_signed(oracle["real_u8"]).permute(0, 3, 1, 2).requires_grad_()
    styles = networks.mapping_network(oracle["z"])[:, None].expand(-1, 8, -1)
    image = networks.generator(styles)
    real_logits, fake_logits = networks.discriminator(real), networks.discriminator(image)
    d_loss = looks_real(real_logits, kind="vanilla") + looks_fake(fake_logits, kind="vanilla")
    assert float(d_loss.detach()) == pytest.approx(expected["d_logistic"], abs=1e-4)
    g_loss = looks_real(fake_logits, kind="vanilla")
    assert float(g_loss.detach()) == pytest.approx(expected["g_nonsaturating"], abs=1e-4)
    r1 = 2 * r1_penalty(real_logits, real)  # the oracle's is not halved
    assert float(r1.detach()) == pytest.approx(expected["r1_unweighted_mean_squared_grad"], abs=1e-4)
    # the oracle's noise is already divided by the side
    lengths = path_lengths(image, styles, oracle["path_noise"] * 32)
    assert lengths.tolist() == pytest.approx(expected["path_lengths"], abs=1e-4)
    mean = 0.01 * lengths.detach().mean()  # the first update from 0
    assert float(mean) == pytest.approx(expected["path_mean_after_first_update"], abs=1e-5)
    assert float(path_penalty(lengths, mean).detach()) == pytest.approx(expected["path_penalty"], abs=1e-3)


def test_the_wgan_losses_are_the_logits_themselves() -> None:
    logits = torch.tensor([1.0, -3.0])
    assert float(looks_real(logits, kind="wgan")) == 1
    assert float(looks_fake(logits, kind="wgan")) == -1


def test_the_vanilla_losses_are_cross_entropy() -> None:
    logits = torch.tensor([1.0, -3.0], dtype=torch.float64)
    expected = (math.log1p(math.exp(-1)) + math.log1p(math.exp(3))) / 2
    assert float(looks_real(logits, kind="vanilla")) == pytest.approx(expected)
    assert float(looks_fake(-logits, kind="vanilla")) == pytest.approx(expected)


def test_the_gradient_penalty_takes_one_square_root() -> None:
    """lukau2357's program takes two, and so compares the fourth root with 1."""
    images = torch.zeros(2, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    slopes = torch.tensor([[3.0, 4.0, 0, 0], [1.0, 0, 0, 0]], dtype=torch.float64)
    logits = (images.flatten(1) * slopes).sum(1)
    assert float(gradient_penalty(logits, images).detach()) == pytest.approx(((5 - 1) ** 2 + 0) / 2)
    assert float(r1_penalty(logits, images).detach()) == pytest.approx((25 + 1) / 4)


def test_a_linear_images_path_length_is_its_slope() -> None:
    """An image of one pixel that is 3 * (the sum of one layer's style): the gradient is 3 for each of L = 4 numbers."""
    styles = torch.zeros(2, 5, 4, dtype=torch.float64, requires_grad=True)
    images = 3 * styles[:, 1].sum(1)[:, None, None, None]
    lengths = path_lengths(images, styles, torch.ones(2, 1, 1, 1, dtype=torch.float64))
    assert lengths.tolist() == pytest.approx(2 * [math.sqrt(4 * 9 / 5)])
