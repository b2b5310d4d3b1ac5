"""Every loss against a value worked out by hand, and the schedule of the rates against arithmetic."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from starcast.train.families.stargan_v1.losses import (
    attribute_loss,
    class_loss,
    gradient_penalty,
    rate_share,
    realness,
    reconstruction_loss,
)


def test_realness_is_the_mean_over_patches_and_images():
    assert float(realness(torch.tensor([[[[1.0, 2.0]]], [[[3.0, 6.0]]]]))) == 3


def test_the_penalty_of_a_known_gradient():
    """judge(x) = sum(w * x): the gradient is w everywhere, with norm 5 and then 13, so (4^2 + 12^2) / 2 = 80."""
    weights = torch.zeros(2, 3, 2, 2)
    weights[0, 0, 0, 0], weights[0, 1, 1, 1] = 3, 4
    weights[1, 2, 0, 1], weights[1, 0, 1, 0] = 5, 12
    alpha = torch.tensor([0.25, 0.75]).reshape(2, 1, 1, 1)
    penalty = gradient_penalty(lambda x: weights * x, torch.ones(2, 3, 2, 2), torch.zeros(2, 3, 2, 2), alpha)
    assert float(penalty) == pytest.approx(80)


def test_the_penalty_looks_between_an_image_and_its_translation():
    """judge(x) = x^2 / 2 has the gradient x = 0.25 * 4 + 0.75 * 8 = 7 in the one pixel: (7 - 1)^2."""
    real, fake = torch.full((1, 1, 1, 1), 4.0), torch.full((1, 1, 1, 1), 8.0)
    alpha = torch.full((1, 1, 1, 1), 0.25)
    penalty = gradient_penalty(lambda x: x.square() / 2, real, fake, alpha)
    assert float(penalty.detach()) == pytest.approx(36)


def test_the_penalty_can_be_differentiated():
    """judge(x) = w x has the penalty (|w| - 1)^2, whose derivative at w = 3 is 4."""
    weight = torch.tensor(3.0, requires_grad=True)
    ones = torch.ones(1, 1, 1, 1)
    gradient_penalty(lambda x: weight * x, ones, ones, ones).backward()
    assert float(weight.grad) == pytest.approx(4)


def test_attributes_are_summed_over_an_image_and_averaged_over_the_batch():
    logits = torch.tensor([[0.0, 0.0], [2.0, -1.0]])
    labels = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    entropies = [math.log(2), math.log(2), math.log1p(math.exp(-2)), math.log1p(math.exp(1))]
    assert float(attribute_loss(logits, labels)) == pytest.approx(sum(entropies) / 2)


def test_classes_exclude_each_other():
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    share = math.exp(2) / (math.exp(1) + math.exp(2) + math.exp(3))
    assert float(class_loss(logits, torch.tensor([[0.0, 1.0, 0.0]]))) == pytest.approx(-math.log(share))


def test_the_official_losses_of_the_same_logits(oracle, oracle_facts):
    official = oracle_facts["losses"]
    labels = torch.eye(5)[oracle["label_index"]]
    assert float(class_loss(oracle["d_cls"], labels)) == pytest.approx(official["D/loss_cls_rafd"], rel=1e-4)
    assert float(attribute_loss(oracle["d_cls"], oracle["label_org"])) == pytest.approx(
        official["D/loss_cls"], rel=1e-4
    )


def test_reconstruction_is_the_mean_distance():
    assert float(reconstruction_loss(torch.tensor([1.0, -1.0]), torch.tensor([0.0, 2.0]))) == 2


def test_terms_of_bfloat16_are_in_float32():
    half = torch.ones(2, 3, 4, 4, dtype=torch.bfloat16)
    assert realness(half).dtype == reconstruction_loss(half, half).dtype == torch.float32


@given(st.integers(0, 100_000))
def test_the_rate_falls_linearly_to_zero(step):
    """The official recipe: constant for 100,000 of 200,000 iterations, then linear to 0."""
    wanted = 1.0 if step <= 20_000 else max(0.0, (40_000 - step) / 20_000)
    assert rate_share(step, start=20_000, steps=20_000) == pytest.approx(wanted)


def test_without_a_decay_the_rate_stays():
    assert rate_share(10**9, start=0, steps=0) == 1
