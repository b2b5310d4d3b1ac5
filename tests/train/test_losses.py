"""Every term against a value worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from starcast.train.losses import (
    adversarial_loss,
    cycle_loss,
    diversity,
    diversity_weight,
    r1_penalty,
    style_loss,
)


@pytest.mark.parametrize("real", [True, False])
def test_undecided_logits_cost_the_logarithm_of_two(real: bool) -> None:
    assert adversarial_loss(torch.zeros(3), real=real).item() == pytest.approx(math.log(2))


def test_adversarial_loss_is_the_mean_of_log_1_plus_e_to_the_logit() -> None:
    logits = torch.tensor([2.0, -1.0], dtype=torch.float64)
    expected = (math.log1p(math.exp(2)) + math.log1p(math.exp(-1))) / 2
    assert adversarial_loss(logits, real=False).item() == pytest.approx(expected, rel=1e-12)
    assert adversarial_loss(-logits, real=True).item() == pytest.approx(expected, rel=1e-12)


def test_certain_logits_do_not_overflow() -> None:
    assert adversarial_loss(torch.tensor([500.0]), real=False).item() == 500
    assert adversarial_loss(torch.tensor([500.0]), real=True).item() == 0


def test_r1_is_half_the_squared_gradient_summed_over_an_image_and_averaged_over_the_batch() -> None:
    images = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1).repeat(1, 3, 2, 2).requires_grad_()
    logits = images.square().sum(dim=(1, 2, 3))  # gradient 2x: 12 entries of 2, then of 4
    assert r1_penalty(logits, images).item() == pytest.approx(0.5 * (12 * 4 + 12 * 16) / 2)


def test_r1_can_be_learned_from() -> None:
    factor = torch.tensor(3.0, requires_grad=True)
    images = torch.ones(2, 3, 2, 2, requires_grad=True)
    r1_penalty((factor * images).sum(dim=(1, 2, 3)), images).backward()  # 0.5 * 12 * factor²
    assert factor.grad is not None
    assert factor.grad.item() == pytest.approx(36)


def test_distances_are_means_of_absolute_differences() -> None:
    one, other = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, -1.0]])
    for distance in (style_loss, diversity, cycle_loss):
        assert distance(one, other).item() == pytest.approx(1.25)


def test_only_the_first_translation_learns_from_diversity() -> None:
    one, other = torch.zeros(2, requires_grad=True), torch.ones(2, requires_grad=True)
    diversity(one, other).backward()
    assert one.grad is not None
    assert other.grad is None


def test_style_loss_reaches_both_styles() -> None:
    found, style = torch.zeros(2, requires_grad=True), torch.ones(2, requires_grad=True)
    style_loss(found, style).backward()
    assert found.grad is not None
    assert style.grad is not None


@pytest.mark.parametrize(("given", "result"), [("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")])
def test_terms_are_at_least_float32(given: str, result: str) -> None:
    values = torch.ones(4, dtype=getattr(torch, given))
    assert adversarial_loss(values, real=True).dtype == getattr(torch, result)
    assert cycle_loss(values, values).dtype == getattr(torch, result)


def test_the_diversity_weight_falls_in_a_line_to_nought_and_stays_there() -> None:
    weights = [diversity_weight(step, initial=2, ds_steps=4) for step in range(7)]
    assert weights == [2, 1.5, 1, 0.5, 0, 0, 0]
