"""Every loss against a value worked out by hand, or against derivatives taken numerically in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from starcast.train.families.stargan_v2.losses import (
    adversarial_loss,
    cycle_loss,
    diversity,
    diversity_weight,
    r1_penalty,
    style_loss,
)
from starcast.train.families.stargan_v2.networks import StarGANv2Config, build_networks

logits = st.lists(st.floats(-30, 30), min_size=1, max_size=8)


@given(logits, st.booleans())
def test_the_adversarial_loss_is_the_mean_cross_entropy_of_the_sigmoid(values, real):
    # -log sigmoid(x) = log(1 + exp(-x)), -log(1 - sigmoid(x)) = log(1 + exp(x))
    wanted = sum(math.log1p(math.exp(-x if real else x)) for x in values) / len(values)
    found = adversarial_loss(torch.tensor(values, dtype=torch.float64), real=real)
    assert float(found) == pytest.approx(wanted, rel=1e-12)


def test_the_adversarial_loss_stays_finite_where_exponentials_do_not():
    assert float(adversarial_loss(torch.tensor([-1000.0]), real=True)) == 1000
    assert float(adversarial_loss(torch.tensor([1000.0]), real=True)) == 0


def test_r1_of_a_known_gradient():
    """D(x) = sum(w * x) has the gradient w at every image: half of its square, whatever the batch."""
    images = torch.zeros(4, 3, 2, 2, requires_grad=True)
    weight = torch.arange(12.0).reshape(3, 2, 2)  # squares sum to 506
    assert r1_penalty((images * weight).flatten(1).sum(1), images).item() == 253


def test_r1_is_averaged_over_the_images_of_a_batch():
    """D(x) = sum(x^2) / 2 has the gradient x: (1 + 4 + 9) / 2 and (16 + 0 + 0) / 2 average to 7.5."""
    images = torch.tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]]).reshape(2, 3, 1, 1).requires_grad_()
    assert r1_penalty(images.square().flatten(1).sum(1) / 2, images).item() == 7.5


def test_r1_of_a_discriminator_is_that_of_its_numeric_gradients():
    config = StarGANv2Config(image_size=32, domains=2, channel_base=32, max_channels=2)
    discriminator = build_networks(config, seed=1).discriminator.double().requires_grad_(False)
    draws = torch.Generator().manual_seed(3)
    image = torch.rand(1, 3, 32, 32, generator=draws, dtype=torch.float64) * 2 - 1
    domain = torch.tensor([1])
    wanted = 0.0
    for nudges in (1e-6 * torch.eye(image.numel(), dtype=torch.float64)).split(256):
        nudged = nudges.reshape(-1, 3, 32, 32)
        above, below = (discriminator(x, domain.expand(len(x))) for x in (image + nudged, image - nudged))
        wanted += 0.5 * float(((above - below) / 2e-6).square().sum())
    assert wanted > 1e-4
    image.requires_grad_()
    assert r1_penalty(discriminator(image, domain), image).item() == pytest.approx(wanted, rel=1e-5)


def test_r1_pulls_the_discriminator_by_the_right_amount():
    """D(x) = w * x^2 / 2: the penalty is (w x)^2 / 2, and its slope in w is w x^2."""
    weight = torch.tensor(3.0, requires_grad=True)
    images = torch.full((1, 1, 1, 1), 2.0, requires_grad=True)
    r1_penalty((weight * images.square() / 2).flatten(), images).backward()
    assert float(weight.grad) == 12


@pytest.mark.parametrize("distance", [style_loss, diversity, cycle_loss])
def test_distances_are_means_of_absolute_differences_over_everything(distance):
    one = torch.tensor([[1.0, -2.0], [0.5, 4.0]])
    other = torch.tensor([[0.0, 2.0], [0.5, 1.0]])
    assert float(distance(one, other)) == 2  # (1 + 4 + 0 + 3) / 4


def test_the_style_loss_moves_both_styles_and_the_diversity_only_the_first_image():
    for distance, other_moves in [(style_loss, True), (cycle_loss, True), (diversity, False)]:
        one, other = torch.ones(2, requires_grad=True), torch.zeros(2, requires_grad=True)
        distance(one, other).backward()
        assert one.grad.tolist() == [0.5, 0.5]
        assert (other.grad is not None) == other_moves


@pytest.mark.parametrize(
    ("step", "weight"), [(0, 2.0), (1, 2.0 - 2.0 / 8), (4, 1.0), (7, 0.25), (8, 0.0), (9, 0.0), (10**9, 0.0)]
)
def test_the_weight_of_diversity_falls_in_a_line_and_stays_at_nothing(step, weight):
    assert diversity_weight(step, initial=2.0, ds_steps=8) == weight


def test_the_weight_of_diversity_is_what_the_original_subtracts_to():
    """The original subtracts initial / ds_iter after every step while the weight is above 0."""
    weight = 2.0
    for step in range(1200):
        assert diversity_weight(step, initial=2.0, ds_steps=1000) == pytest.approx(max(weight, 0), abs=1e-10)
        if weight > 0:
            weight -= 2.0 / 1000


@pytest.mark.parametrize(("given_type", "wanted"), [("bfloat16", "float32"), ("float32",) * 2, ("float64",) * 2])
def test_losses_lose_no_precision_to_the_type_of_their_inputs(given_type, wanted):
    x = torch.tensor([[0.5, -1.25]], dtype=getattr(torch, given_type), requires_grad=True)
    score = (x * x).sum(1)
    for loss in (
        adversarial_loss(x, real=False),
        style_loss(x, x + 1),
        diversity(x, x + 1),
        cycle_loss(x, x + 1),
        r1_penalty(score, x),
    ):
        assert loss.dtype == getattr(torch, wanted)
        assert loss.dim() == 0
