"""One step against the official program's losses, and what must hold of every step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from starcast.options import replace_options
from starcast.train.families.stargan_v1.batches import Batch
from starcast.train.families.stargan_v1.losses import attribute_loss, class_loss, realness
from starcast.train.families.stargan_v1.networks import Networks, StarGANv1Config, averaged_copy, build_networks
from starcast.train.families.stargan_v1.options import StarGANv1Options
from starcast.train.families.stargan_v1.step import build_optimizers, training_step

TINY = {
    "image_size": 16, "generator_width": 3, "discriminator_width": 3, "residual_blocks": 1, "discriminator_layers": 2,
}  # fmt: skip
ATTRIBUTES = ("Black_Hair", "Male")


def networks_of(attributes: int = 2, classes: int = 0) -> Networks:
    """In float64: a label's plane is constant, so instance norm leaves gradients of 0 but for rounding, and Adam would
    blow these up."""
    networks = build_networks(StarGANv1Config(**TINY, attributes=attributes, classes=classes), seed=1)
    for _, module in networks.items():
        module.double()
    return networks


def a_batch(images: int, labels: Tensor, seed: int = 0) -> Batch:
    """Random images with these labels in turn, and targets in the reverse order."""
    draws = torch.Generator().manual_seed(seed)
    own = labels.double().repeat(-(-images // len(labels)), 1)[:images]
    return Batch(
        source=torch.rand(images, 3, 16, 16, generator=draws, dtype=torch.float64) * 2 - 1,
        labels=own, target=own.flip(0),
        alpha=torch.rand(images, 1, 1, 1, generator=draws, dtype=torch.float64),
    )  # fmt: skip


def options_of(**changes) -> StarGANv1Options:
    return replace_options(StarGANv1Options(), **{"d_steps": 1, "attributes": ATTRIBUTES, **changes})


def take_step(networks, options, batch, step=0, optimizers=None, averaged=None):
    optimizers = optimizers or build_optimizers(networks, options.optimizer)
    averaged = averaged or averaged_copy(networks)
    return training_step(networks, averaged, optimizers, batch, step, options)


def test_the_terms_are_the_official_ones(official_networks, oracle, oracle_facts):
    """With rates of 0, so that the generator's terms are of the same discriminator."""
    batch = Batch(oracle["x"], oracle["label_org"], oracle["label_trg"], oracle["alpha"])
    names = tuple(oracle_facts["selected_attrs"])
    options = options_of(learning_rate=0.0, d_learning_rate=0.0, attributes=names)
    log = take_step(official_networks, options, batch)
    wanted = {name: value for name, value in oracle_facts["losses"].items() if "loss" in name and "rafd" not in name}
    assert set(log) - {"rate"} == set(wanted)
    assert {name: float(log[name]) for name in wanted} == pytest.approx(wanted, rel=1e-4)
    weights = {"D/loss_gp": options.loss.lambda_gp, "G/loss_rec": options.loss.lambda_rec}
    for network in "DG":
        total = sum(float(log[name]) * weights.get(name, 1.0) for name in wanted if name.startswith(network))
        assert total == pytest.approx(oracle_facts["losses"][f"{network}/total"], rel=1e-4)


def plain_updates(networks: Networks, options: StarGANv1Options, parts: list[tuple[Batch, bool, bool]]) -> None:
    """The same updates as the paper writes them, by autograd alone: of each part, whether its labels are classes, and
    whether the generator follows."""
    generator, discriminator = networks.generator, networks.discriminator
    optimizers = build_optimizers(networks, options.optimizer)
    attributes = discriminator.attributes

    def classification(logits, labels, by_class):
        if by_class:
            return class_loss(logits[:, attributes:], labels[:, attributes : logits.shape[1]])
        return attribute_loss(logits[:, :attributes], labels[:, :attributes])

    for part, by_class, generator_follows in parts:
        patches, logits = discriminator(part.source)
        fake = generator(part.source, part.target).detach()
        between = (part.alpha * part.source + (1 - part.alpha) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(discriminator(between)[0].sum(), between, create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        own = classification(logits, part.labels, by_class)
        networks_loss = realness(discriminator(fake)[0]) - realness(patches) + own + 10 * penalty
        optimizers["discriminator"].zero_grad()
        networks_loss.backward()
        optimizers["discriminator"].step()
        if generator_follows:
            fake = generator(part.source, part.target)
            patches, logits = discriminator(fake)
            back = (generator(fake, part.labels) - part.source).abs().mean()
            optimizers["generator"].zero_grad()
            (classification(logits, part.target, by_class) - realness(patches) + 10 * back).backward()
            optimizers["generator"].step()


def assert_equal_networks(one: Networks, other: Networks) -> None:
    for name, state in one.state_dicts().items():
        for key, value in state.items():
            torch.testing.assert_close(value, other.state_dicts()[name][key], rtol=1e-9, atol=1e-9)


def test_the_discriminator_is_updated_several_times_before_the_generator_once():
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    batch, options = a_batch(12, labels), options_of(d_steps=3)
    ours, plain = networks_of(), networks_of()
    take_step(ours, options, batch)
    parts = batch.split(3)
    plain_updates(plain, options, [(part, False, number == 2) for number, part in enumerate(parts)])
    assert_equal_networks(ours, plain)


def test_classes_alone_are_learnt_with_their_own_loss():
    batch, options = a_batch(6, torch.eye(3)), options_of(attributes=())
    ours, plain = networks_of(0, 3), networks_of(0, 3)
    take_step(ours, options, batch)
    plain_updates(plain, options, [(batch, True, True)])
    assert_equal_networks(ours, plain)


def test_two_sets_take_turns_and_the_generator_follows_each(tmp_path):
    """Labels of 2 attributes and 3 classes: their own, zeros for the other's, and two bits."""
    listed = torch.tensor([[1.0, 0, 0, 0, 0, 1, 0], [1, 1, 0, 0, 0, 1, 0]])
    folders = torch.tensor([[0.0, 0, 1, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0, 1]])
    parts = [a_batch(2, listed, 1), a_batch(2, folders, 2), a_batch(2, listed, 3), a_batch(2, folders, 4)]
    batch = Batch(*(torch.cat([getattr(part, name) for part in parts]) for name in Batch.__dataclass_fields__))
    options = options_of(d_steps=2, list_images=tmp_path)
    ours, plain = networks_of(2, 3), networks_of(2, 3)
    log = take_step(ours, options, batch)
    plain_updates(plain, options, [(part, number % 2 == 1, number >= 2) for number, part in enumerate(parts)])
    assert_equal_networks(ours, plain)
    assert {name for name in log if "cls" in name} == {
        f"{network}/loss_cls_of_{kind}" for network in "DG" for kind in ("attributes", "classes")
    }


def test_parts_of_a_batch_give_the_same_step_but_for_rounding():
    batch = a_batch(10, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    whole, parts = networks_of(), networks_of()
    logs = [
        take_step(networks, options_of(d_steps=2, accumulate=accumulate), batch)
        for networks, accumulate in ((whole, 1), (parts, 3))
    ]
    assert {name: float(value) for name, value in logs[0].items()} == pytest.approx(
        {name: float(value) for name, value in logs[1].items()}, rel=1e-3
    )
    assert_equal_networks(whole, parts)


@pytest.mark.parametrize(("step", "share"), [(0, 1.0), (10, 1.0), (15, 0.75), (30, 0.0), (31, 0.0)])
def test_the_rates_of_a_step_are_set(step, share):
    options = options_of(learning_rate=2e-3, d_learning_rate=1e-3, decay_start=10, decay_steps=20, steps=30)
    networks = networks_of()
    before = {name: value.clone() for name, value in networks.generator.state_dict().items()}
    optimizers = build_optimizers(networks, options.optimizer)
    log = take_step(networks, options, a_batch(2, torch.eye(2)), step, optimizers)
    assert float(log["rate"]) == pytest.approx(share)
    assert optimizers["generator"].param_groups[0]["lr"] == pytest.approx(2e-3 * share)
    assert optimizers["discriminator"].param_groups[0]["lr"] == pytest.approx(1e-3 * share)
    stays = all(torch.equal(before[name], value) for name, value in networks.generator.state_dict().items())
    assert stays == (share == 0)


@pytest.mark.parametrize(("decay", "share"), [(0.0, 1.0), (0.75, 0.25)])
def test_the_average_follows_the_generator(decay, share):
    networks, options = networks_of(), options_of(average_decay=decay, learning_rate=0.1)
    averaged, before = averaged_copy(networks), averaged_copy(networks)
    take_step(networks, options, a_batch(2, torch.eye(2)), averaged=averaged)
    triples = (part.generator.parameters() for part in (averaged, before, networks))
    for average, start, trained in zip(*triples, strict=True):
        torch.testing.assert_close(average, torch.lerp(start, trained.detach(), share))


def test_in_bfloat16_the_losses_stay_near():
    batch = Batch(*(value.float() for value in vars(a_batch(4, torch.eye(2))).values()))
    full, half = networks_of(), networks_of()
    for _, module in (*full.items(), *half.items()):
        module.float()
    logs = [
        training_step(
            networks, averaged_copy(networks), build_optimizers(networks, options_of().optimizer), batch, 0,
            options_of(learning_rate=0.0, d_learning_rate=0.0), autocast=autocast,
        )
        for networks, autocast in ((full, False), (half, True))
    ]  # fmt: skip
    for name, value in logs[0].items():
        assert float(logs[1][name]) == pytest.approx(float(value), rel=0.05, abs=0.02)
        assert logs[1][name].dtype == torch.float32
