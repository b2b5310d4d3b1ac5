"""A training step: what each update moves, when penalties are due, and what the averages follow."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from stylegan2_oracles import LUKAU2357, numbers
from torch import Tensor

from starcast.options import replace_options
from starcast.train.families.stylegan2.batches import Batch
from starcast.train.families.stylegan2.losses import r1_penalty
from starcast.train.families.stylegan2.networks import (
    Networks,
    StyleGAN2Config,
    averaged_copy,
    build_networks,
)
from starcast.train.families.stylegan2.options import StyleGAN2Options
from starcast.train.families.stylegan2.step import Update, build_optimizers, training_step
from starcast.train.second_derivative import ImageGradients

SMALL = replace_options(
    StyleGAN2Options(), image_size=8, latent_dim=4, mapping_depth=2, capacity=2, max_channels=8, batch_size=8,
    penalty_every=2, path_every=3, average_decay=0.5,
)  # fmt: skip


def batch_of(options: StyleGAN2Options, seed: int = 0) -> Batch:
    draws = torch.Generator().manual_seed(seed)
    count, updates = options.data.batch_size, options.course.d_steps + 2
    size, length = options.network.image_size, options.network.latent_dim
    return Batch(
        image=torch.rand(options.course.d_steps * count, options.network.channels, size, size, generator=draws) * 2 - 1,
        latent=torch.randn(updates * count, length, generator=draws),
        latent2=torch.randn(updates * count, length, generator=draws),
        cutoff=torch.full((updates * count,), 2),
    )


def after(
    steps: range, options: StyleGAN2Options, **changes: Any
) -> tuple[Networks, Networks, list[dict[str, Tensor]]]:
    """Networks, average and losses after these steps."""
    options = replace_options(options, **changes)
    networks = build_networks(StyleGAN2Config(**vars(options.network)), 0)
    averaged, optimizers = averaged_copy(networks), build_optimizers(networks, options)
    losses = [
        training_step(networks, averaged, optimizers, batch_of(options, step), step, options, autocast=False)
        for step in steps
    ]
    return networks, averaged, losses


def moved(networks: Networks, since: Networks) -> set[str]:
    before = dict(since.items())
    return {
        name for name, module in networks.items()
        if any(not torch.equal(a, b) for a, b in zip(module.parameters(), before[name].parameters(), strict=True))
    }  # fmt: skip


@pytest.mark.parametrize("loss_type", ["vanilla", "wgan"])
def test_every_network_moves_and_every_loss_is_finite(loss_type: str) -> None:
    networks, averaged, losses = after(range(6), SMALL, loss_type=loss_type)
    fresh = build_networks(StyleGAN2Config(**vars(SMALL.network)), 0)
    assert moved(networks, fresh) == {"mapping_network", "generator", "discriminator"}
    assert moved(averaged, fresh) == {"mapping_network", "generator"}
    assert all(bool(torch.isfinite(value)) for line in losses for value in line.values())


def test_penalties_are_due_at_their_steps() -> None:
    _, _, losses = after(range(6), SMALL)
    assert ["D/penalty" in line for line in losses] == [False, True, False, True, False, True]
    assert ["G/path" in line for line in losses] == [False, False, True, False, False, True]
    _, _, losses = after(range(6), SMALL, penalty_weight=0.0, path_weight=0.0)
    assert all(sorted(line) == ["D/fake", "D/real", "G/fake"] for line in losses)


def test_rates_and_decays_are_corrected_for_lazy_penalties() -> None:
    """Karras et al. 2020, appendix B: with k steps between penalties, c = k / (k + 1), rate * c and beta ** c."""
    networks = build_networks(StyleGAN2Config(**vars(SMALL.network)), 0)
    lazy = build_optimizers(networks, replace_options(SMALL, penalty_every=16, path_every=8))
    groups = {name: optimizer.param_groups[0] for name, optimizer in lazy.items()}
    assert groups["discriminator"]["lr"] == pytest.approx(0.0018823529411764706)  # as in the original's files
    assert groups["discriminator"]["betas"] == pytest.approx((0.0, 0.9905854573074332))
    for name in ("generator", "mapping_network"):
        assert groups[name]["lr"] == pytest.approx(0.0017777777777777776)
        assert groups[name]["betas"] == pytest.approx((0.0, 0.9911061544524765))
    plain = build_optimizers(networks, replace_options(SMALL, penalty_weight=0.0, path_weight=0.0))
    assert {optimizer.param_groups[0]["lr"] for optimizer in plain.values()} == {2e-3}


def test_the_average_is_a_copy_until_it_starts() -> None:
    networks, averaged, _ = after(range(2), SMALL, average_start=3)
    assert moved(averaged, networks) == set()
    earlier, _, _ = after(range(2), SMALL)
    later, averaged, _ = after(range(3), SMALL, average_start=3)
    expected = (earlier.generator.start + later.generator.start) / 2
    torch.testing.assert_close(averaged.generator.start.detach(), expected.detach())


def test_the_mean_style_moves_as_lukau2357s() -> None:
    """0.995 of the mean and 0.005 of the batch's, as in the original's numbers."""
    oracle = numbers(LUKAU2357)
    before = (oracle["w_ema_after_one_update"] - 0.005 * oracle["w"].mean(0)) / 0.995
    mean = before.clone().lerp_(oracle["w"].mean(0), 1 - StyleGAN2Options().course.mean_decay)
    torch.testing.assert_close(mean, oracle["w_ema_after_one_update"], atol=1e-6, rtol=0)
    networks, _, _ = after(range(1), SMALL, path_weight=0.0, learning_rate=0.0)
    style = networks.mapping_network(batch_of(SMALL, 0).latent[8:16]).detach()
    torch.testing.assert_close(networks.mapping_network.mean, 0.005 * style.mean(0))


def test_the_running_path_length_takes_a_hundredth_of_the_new_one() -> None:
    networks, _, losses = after(range(3), SMALL)
    assert networks.path_length is not None
    assert float(networks.path_length.mean) == pytest.approx(0.01 * float(losses[2]["G/path_length"]), rel=1e-5)


def test_a_batch_in_parts_gives_the_same_step() -> None:
    """Parts keep the images together that the discriminator compares."""
    whole, _, one = after(range(2), SMALL, learning_rate=1e-4)
    parts, _, two = after(range(2), SMALL, learning_rate=1e-4, accumulate=2)
    for name in one[1]:
        assert float(two[1][name]) == pytest.approx(float(one[1][name]), rel=1e-3)
    for (name, a), (_, b) in zip(whole.items(), parts.items(), strict=True):
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            assert float((p - q).detach().abs().max()) <= 4.1e-4, name  # Adam's first steps are of one size


def test_parts_of_an_update_are_interleaved() -> None:
    numbered = torch.arange(8.0)
    update = Update(numbered[:, None], numbered[:, None], numbered, numbered, numbered, (numbered,), None)
    assert [part.cutoff.tolist() for part in update.split(2)] == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert [len(part) for part in update.split(20)] == [1] * 8


def test_r1_of_a_linear_discriminator_is_its_slope() -> None:
    """The term in the log is unweighted; with weight and interval it enters the update as gamma * every * R1."""
    _, _, losses = after(range(2), SMALL, learning_rate=0.0)
    options = replace_options(SMALL, learning_rate=0.0)
    networks = build_networks(StyleGAN2Config(**vars(options.network)), 0)
    assert networks.discriminator is not None
    image = batch_of(options, 1).image.requires_grad_()
    (gradient,) = torch.autograd.grad(networks.discriminator(image).sum(), image)
    expected = 0.5 * gradient.square().sum() / 8
    assert float(losses[1]["D/penalty"]) == pytest.approx(float(expected), rel=1e-4)


def test_several_discriminator_updates_see_several_batches() -> None:
    options = replace_options(SMALL, d_steps=3)
    _, _, losses = after(range(1), options)
    assert math.isfinite(float(losses[0]["D/real"]))
    assert batch_of(options).image.shape[0] == 24


def test_fresh_losses_are_those_of_undecided_logits() -> None:
    """A discriminator that says 0 has -log(1/2) for each kind: fresh logits are near 0 on average."""
    _, _, losses = after(range(1), SMALL, learning_rate=0.0)
    assert float(losses[0]["D/real"] + losses[0]["D/fake"]) == pytest.approx(2 * np.log(2), abs=0.8)


def test_a_step_in_bfloat16_is_near_one_in_float32() -> None:
    """The networks run in bfloat16, penalties and losses do not."""
    options = replace_options(SMALL, learning_rate=0.0)
    networks = build_networks(StyleGAN2Config(**vars(options.network)), 0)
    averaged, optimizers = averaged_copy(networks), build_optimizers(networks, options)
    full, half = (
        training_step(networks, averaged, optimizers, batch_of(options), 5, options, autocast=autocast)
        for autocast in (False, True)
    )
    for name, value in half.items():
        assert value.dtype == torch.float32
        assert float(value) == pytest.approx(float(full[name]), rel=0.05, abs=0.01), name


@pytest.mark.parametrize("resampling", ["transposed", "bilinear"])
def test_penalties_have_the_gradients_of_pytorchs_second_derivative(resampling: str) -> None:
    options = replace_options(SMALL, resampling=resampling)
    networks = build_networks(StyleGAN2Config(**vars(options.network)), 0)
    assert networks.discriminator is not None
    gradients = []
    for mode in (ImageGradients(), nullcontext()):
        image = batch_of(options).image.clone().requires_grad_()
        with mode:
            logits = networks.discriminator(image)
        networks.discriminator.zero_grad()
        torch.autograd.backward(r1_penalty(logits, image))
        gradients.append([parameter.grad for parameter in networks.discriminator.parameters()])
    for ours, pytorchs in zip(*gradients, strict=True):
        if pytorchs is None:  # the last bias has no part in a gradient
            assert ours is None
        else:
            torch.testing.assert_close(ours, pytorchs, atol=1e-5, rtol=1e-4)
