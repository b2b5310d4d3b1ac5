"""One step against the official program's own iteration, and what must hold of every step."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from starcast.train.checkpoint.file import read_checkpoint
from starcast.train.families.stargan_v2.batches import Batch
from starcast.train.families.stargan_v2.losses import diversity_weight
from starcast.train.families.stargan_v2.networks import (
    Networks,
    StarGANv2Config,
    averaged_copy,
    build_networks,
    empty_networks,
)
from starcast.train.families.stargan_v2.options import StarGANv2Loss, StarGANv2Optimizer
from starcast.train.families.stargan_v2.step import (
    build_optimizers,
    compile_networks,
    term_weights,
    training_step,
)
from starcast.train.families.updates import update_average
from starcast.train.run import read_losses

ORACLE = Path(__file__).resolve().parents[3] / "oracles" / "stargan_v2_train_step"
PLAIN = StarGANv2Loss()
OFFICIAL = StarGANv2Loss(lambda_ds=2.0)
ADAM = StarGANv2Optimizer()

# the official names of the four updates, by the prefix of their terms in the log
UPDATES = {"1_d_latent": "D/latent", "2_d_ref": "D/ref", "3_g_latent": "G/latent", "4_g_ref": "G/ref"}
LEARNERS = {
    "1_d_latent": {"discriminator"},
    "2_d_ref": {"discriminator"},
    "3_g_latent": {"generator", "mapping_network", "style_encoder"},
    "4_g_ref": {"generator"},
}

TINY = StarGANv2Config(
    image_size=32, domains=3, style_dim=5, latent_dim=4, mapping_width=8, channel_base=128, max_channels=6
)


def take_step(
    networks: Networks, averaged: Networks, optimizers: dict, batch: Batch, loss: StarGANv2Loss = PLAIN, *,
    step: int = 0, average_decay: float = 0.999, **settings: Any,
) -> dict[str, Tensor]:  # fmt: skip
    return training_step(networks, averaged, optimizers, batch, step, loss, average_decay=average_decay, **settings)


@dataclasses.dataclass
class Watched:
    """An optimiser that shows what it is about to use before it moves anything."""

    optimizer: torch.optim.Optimizer
    look: Callable[[], None]

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def step(self) -> None:
        self.look()
        self.optimizer.step()


def watched(networks: Networks, optimizers: dict, look: Callable[[str, dict[str, Tensor]], None]) -> dict:
    """The same optimisers; `look` gets the name of each that steps, and all gradients that there are."""

    def gradients() -> dict[str, Tensor]:
        return {
            f"{name}/{key}": parameter.grad.clone()
            for name, module in networks.items()
            for key, parameter in module.named_parameters()
            if parameter.grad is not None
        }

    return {
        name: Watched(optimizer, lambda name=name: look(name, gradients())) for name, optimizer in optimizers.items()
    }


def official_state(dtype: torch.dtype) -> tuple[Networks, Networks, Batch]:
    """Networks, average and batch of the official iteration, before it."""
    before = read_checkpoint(ORACLE / "000000_nets.ckpt")
    networks = empty_networks(before.config, training=True)
    averaged = empty_networks(before.config, training=False).eval()
    states = {id(networks): before.networks, id(averaged): read_checkpoint(ORACLE / "000000_nets_ema.ckpt").averaged}
    for some in (networks, averaged):
        for name, module in some.items():
            module.load_state_dict(states[id(some)][name])
            module.to(dtype)
    with np.load(ORACLE / "batch.npz") as arrays:
        given = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    images = {
        name: ((given[name].permute(0, 3, 1, 2).contiguous().float() / 255 - 0.5) / 0.5).to(dtype)
        for name in ("x_src_u8", "x_ref_u8", "x_ref2_u8")
    }
    batch = Batch(
        images["x_src_u8"], given["y_src"], images["x_ref_u8"], images["x_ref2_u8"], given["y_trg"],
        given["z_trg"].to(dtype), given["z_trg2"].to(dtype),
    )  # fmt: skip
    return networks, averaged, batch


def official_losses(which: str) -> dict[str, float]:
    """The official terms by the names they have in the log."""
    updates = json.loads((ORACLE / "losses.json").read_text())[which]
    return {f"{UPDATES[update]}_{term}": value for update, _, terms in updates for term, value in terms.items()}


@pytest.mark.slow
def test_a_whole_iteration_is_the_officials():
    """In float64: losses, gradients and every parameter. One to three minutes on one thread."""
    networks, averaged, batch = official_state(torch.float64)
    gradients: dict[str, Tensor] = {}
    stepped: list[str] = []

    def look(name: str, found: dict[str, Tensor]) -> None:
        stepped.append(name)
        update = list(UPDATES)[[1, 2, 3, 3, 3, 4][len(stepped) - 1] - 1]
        gradients.update({f"{update}/{key}": gradient for key, gradient in found.items() if key.startswith(f"{name}/")})

    optimizers = watched(networks, build_optimizers(networks, ADAM), look)
    found = read_losses(take_step(networks, averaged, optimizers, batch, OFFICIAL))
    assert found.pop("G/lambda_ds") == 2
    assert found == pytest.approx(official_losses("losses_during_iteration"), rel=1e-8)

    sums = json.loads((ORACLE / "checksums.json").read_text())
    theirs = sums["gradients_sum_and_l2"]
    for name, gradient in gradients.items():
        norm = theirs[name][1]
        if norm > 1e-9:  # smaller ones are rounding noise
            assert gradient.norm().item() == pytest.approx(norm, rel=1e-6), name
        else:
            assert gradient.norm().item() < 1e-8, name
    assert {name for name in theirs if name.split("/")[1] in LEARNERS[name.split("/")[0]]} == set(gradients)

    after = {
        f"{kind}/{name}/{key}": parameter.detach()
        for kind, some in (("nets", networks), ("nets_ema", averaged))
        for name, module in some.items()
        for key, parameter in module.named_parameters()
    }
    theirs = sums["parameters_after_sum_and_l2"]
    assert set(theirs) == set(after)
    for name, parameter in after.items():
        total, norm = theirs[name]
        assert parameter.norm().item() == pytest.approx(norm, rel=1e-8), name
        assert abs(parameter.sum().item() - total) <= 1e-8 * (1 + norm), name


def tiny_state() -> tuple[Networks, Networks, dict]:
    """Networks in float64 with no parameter at 0: there, Adam would make whole steps of rounding noise."""
    networks = build_networks(TINY, seed=3)
    draws = torch.Generator().manual_seed(4)
    for _, module in networks.items():
        module.double()
        for parameter in module.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=draws, dtype=torch.float64)
    optimizers = build_optimizers(networks, StarGANv2Optimizer(learning_rate=1e-3, mapping_learning_rate=1e-4))
    return networks, averaged_copy(networks), optimizers


def a_batch(size: int = 4, seed: int = 0, dtype: torch.dtype = torch.float64) -> Batch:
    draws = torch.Generator().manual_seed(seed)
    images = (torch.rand(3, size, 3, 32, 32, generator=draws, dtype=torch.float64) * 2 - 1).to(dtype)
    domains = torch.randint(TINY.domains, (2, size), generator=draws)
    latents = torch.randn(2, size, TINY.latent_dim, generator=draws, dtype=torch.float64).to(dtype)
    return Batch(images[0], domains[0], images[1], images[2], domains[1], latents[0], latents[1])


def trained(
    loss: StarGANv2Loss = PLAIN, steps: int = 1, first: int = 0, size: int = 4, **settings: Any
) -> tuple[list[dict], dict]:
    """Losses of each step, and every parameter after them."""
    networks, averaged, optimizers = tiny_state()
    losses = [
        read_losses(take_step(networks, averaged, optimizers, a_batch(size, step), loss, step=step, **settings))
        for step in range(first, first + steps)
    ]
    return losses, parameters(networks, averaged)


def parameters(networks: Networks, averaged: Networks) -> dict[str, Tensor]:
    return {
        f"{kind}/{name}.{key}": value.clone()
        for kind, some in (("networks", networks), ("averaged", averaged))
        for name, state in some.state_dicts().items()
        for key, value in state.items()
    }


def assert_equal_up_to_rounding(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(("size", "parts"), [(4, 2), (3, 2), (3, 5)])
def test_accumulated_parts_of_a_batch_are_the_whole_batch(size, parts):
    loss = StarGANv2Loss(lambda_ds=2, ds_steps=10, r1_every=2)
    losses, whole = trained(loss, steps=2, size=size, average_decay=0.9)
    in_parts, accumulated = trained(loss, steps=2, size=size, average_decay=0.9, accumulate=parts)
    for found, wanted in zip(in_parts, losses, strict=True):
        assert found == pytest.approx(wanted, rel=1e-9)
    assert_equal_up_to_rounding(accumulated, whole)


def test_r1_runs_only_where_it_is_due_and_then_weighs_as_often_as_it_was_left_out():
    often = StarGANv2Loss(r1_every=3, lambda_reg=0.5)
    assert ["reg" in term_weights(step, often) for step in range(7)] == [True, False, False] * 2 + [True]
    assert term_weights(3, often)["reg"] == 1.5

    (due,), found = trained(often, first=3)
    (wanted,), same = trained(StarGANv2Loss(r1_every=1, lambda_reg=1.5), first=3)
    assert due == wanted
    assert_equal_up_to_rounding(found, same)

    (left_out,), found = trained(often, first=4)
    _, same = trained(StarGANv2Loss(lambda_reg=0), first=4)
    assert not {"D/latent_reg", "D/ref_reg"} & left_out.keys()
    assert_equal_up_to_rounding(found, same)


def test_diversity_is_subtracted_with_the_weight_of_its_step():
    options = StarGANv2Loss(lambda_ds=2, ds_steps=10)
    for step in (0, 3, 10, 11):
        assert term_weights(step, options)["ds"] == -diversity_weight(step, initial=2, ds_steps=10)
        (losses,), _ = trained(options, first=step)
        assert losses["G/lambda_ds"] == pytest.approx(max(0, 2 - 0.2 * step))


def test_the_log_has_the_official_names():
    (losses,), _ = trained()
    terms = [f"D/{kind}_{term}" for kind in ("latent", "ref") for term in ("real", "fake", "reg")]
    terms += [f"G/{kind}_{term}" for kind in ("latent", "ref") for term in ("adv", "sty", "ds", "cyc")]
    assert sorted(losses) == sorted([*terms, "G/lambda_ds"])
    assert all(isinstance(value, float) for value in losses.values())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_gradients_reach_only_what_the_update_moves(accumulate):
    networks, averaged, optimizers = tiny_state()
    seen: list[tuple[str, set[str]]] = []

    def look(name: str, gradients: dict[str, Tensor]) -> None:
        seen.append((name, {key.split("/")[0] for key in gradients}))

    batch = a_batch()
    take_step(networks, averaged, watched(networks, optimizers, look), batch, accumulate=accumulate)
    assert seen == [
        ("discriminator", {"discriminator"}),
        ("discriminator", {"discriminator"}),
        # what has stepped has let go of its gradients
        ("generator", {"generator", "mapping_network", "style_encoder"}),
        ("mapping_network", {"mapping_network", "style_encoder"}),
        ("style_encoder", {"style_encoder"}),
        ("generator", {"generator"}),
    ]
    assert not batch.source.requires_grad


def test_a_step_leaves_no_gradients_and_everything_ready_for_the_next():
    networks, averaged, optimizers = tiny_state()
    take_step(networks, averaged, optimizers, a_batch())
    for _, module in networks.items():
        assert all(parameter.grad is None and parameter.requires_grad for parameter in module.parameters())
    for _, module in averaged.items():
        assert not any(parameter.requires_grad for parameter in module.parameters())


def test_every_parameter_of_every_network_moves():
    networks, averaged, optimizers = tiny_state()
    before = parameters(networks, averaged)
    take_step(networks, averaged, optimizers, a_batch(), average_decay=0.9)
    for name, value in parameters(networks, averaged).items():
        if ".unshared." not in name:  # a domain that the batch lacks has only the weight decay
            assert not torch.equal(value, before[name]), name


def test_a_broken_step_leaves_the_networks_trainable():
    """An error within an update, as from a full memory, must not leave parameters frozen."""
    networks, averaged, optimizers = tiny_state()
    broken = dataclasses.replace(a_batch(), latent2=torch.zeros(4, 1, dtype=torch.float64))
    with pytest.raises(RuntimeError):
        take_step(networks, averaged, optimizers, broken)
    for _, module in networks.items():
        assert all(parameter.requires_grad for parameter in module.parameters())


def test_the_average_moves_by_the_rest_of_its_decay_towards_the_networks():
    networks, averaged, optimizers = tiny_state()
    before = parameters(networks, averaged)
    take_step(networks, averaged, optimizers, a_batch(), average_decay=0.75)
    after = parameters(networks, averaged)
    for name, value in after.items():
        if name.startswith("averaged/"):
            trained_value = after[name.replace("averaged/", "networks/")]
            torch.testing.assert_close(value, 0.75 * before[name] + 0.25 * trained_value, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("decay", "wanted"), [(1.0, 2.0), (0.999, 2.003), (0.5, 3.5), (0.0, 5.0)])
def test_the_average_of_known_numbers(decay, wanted):
    networks = build_networks(TINY, seed=1)
    averaged = averaged_copy(networks)
    for some, value in ((networks, 5.0), (averaged, 2.0)):
        for _, module in some.items():
            for parameter in module.parameters():
                nn.init.constant_(parameter, value)
    update_average(averaged, networks, decay)
    for _, module in averaged.items():
        for parameter in module.parameters():
            torch.testing.assert_close(parameter, torch.full_like(parameter, wanted))


def test_every_network_has_the_official_adam():
    for name, optimizer in build_optimizers(build_networks(TINY, seed=1), ADAM).items():
        (group,) = optimizer.param_groups
        assert type(optimizer) is torch.optim.Adam
        assert group["lr"] == (1e-6 if name == "mapping_network" else 1e-4)
        assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.0, 0.99), 1e-8, 1e-4)
        assert not group["decoupled_weight_decay"]


def test_an_averaged_set_cannot_be_trained():
    _, averaged, optimizers = tiny_state()
    with pytest.raises(ValueError, match="has no discriminator and cannot be trained"):
        take_step(averaged, averaged, optimizers, a_batch())


def test_low_precision_keeps_weights_and_losses_in_float32_and_stays_near():
    results = {}
    for autocast in (False, True):
        networks, averaged, _ = tiny_state()
        for some in (networks, averaged):
            for _, module in some.items():
                module.float()
        optimizers = build_optimizers(networks, ADAM)
        log = take_step(networks, averaged, optimizers, a_batch(dtype=torch.float32), autocast=autocast)
        assert {value.dtype for value in log.values()} == {torch.float32}
        assert {value.dtype for value in parameters(networks, averaged).values()} == {torch.float32}
        results[autocast] = read_losses(log)
    assert results[True] == pytest.approx(results[False], rel=0.05)
    assert results[True] != results[False]
    # R1 is not in bfloat16 at all. Its second value follows a step that is.
    assert results[True]["D/latent_reg"] == pytest.approx(results[False]["D/latent_reg"], rel=1e-6)


# PyTorch hides this warning of its own tracer, which does not help where warnings are errors.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_compiled_networks_take_the_same_step_under_the_same_names():
    networks, averaged, optimizers = tiny_state()
    compile_networks(networks, backend="eager")
    take_step(networks, averaged, optimizers, a_batch())
    _, wanted = trained()
    assert_equal_up_to_rounding(parameters(networks, averaged), wanted)


def test_a_batch_is_split_in_order_into_parts_that_differ_by_one_at_most():
    batch = a_batch(5)
    parts = batch.split(3)
    assert [len(part) for part in parts] == [2, 2, 1]
    for field in dataclasses.fields(Batch):
        joined = torch.cat([getattr(part, field.name) for part in parts])
        assert torch.equal(joined, getattr(batch, field.name))


def test_only_images_take_the_memory_format():
    moved = a_batch(2).to("cpu", torch.channels_last)
    assert moved.source.is_contiguous(memory_format=torch.channels_last)
    assert moved.reference2.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(moved.source, a_batch(2).source)
    assert torch.equal(moved.latent, a_batch(2).latent)
