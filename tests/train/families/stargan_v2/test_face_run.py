"""Runs of face models: their step, what their checkpoints hold, and how they resume and start."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from short_runs import Killed, kill_after, run_quietly
from torch import Tensor
from torch.nn import functional as F

from starcast.benchmarks.studies.original_step import original_step
from starcast.errors import CheckpointError, OptionError
from starcast.options import replace_options
from starcast.train.checkpoint.file import averaged_networks, read_checkpoint
from starcast.train.families import read_recipe
from starcast.train.families.stargan_v2.batches import Batch
from starcast.train.families.stargan_v2.landmarks import random_fan
from starcast.train.families.stargan_v2.networks import (
    StarGANv2Config,
    averaged_copy,
    build_networks,
)
from starcast.train.families.stargan_v2.options import StarGANv2Options
from starcast.train.families.stargan_v2.step import build_optimizers, training_step
from starcast.train.run_folder import RunFolder
from starcast.train.state import start_elsewhere

TINY = {
    "image_size": 32, "channel_base": 128, "max_channels": 8, "style_dim": 4, "latent_dim": 3, "mapping_width": 8,
    "high_pass": 1.0,
}  # fmt: skip
STEPS = 4  # of a run with the landmark network


@pytest.fixture(scope="module")
def wing(tmp_path_factory) -> Path:
    """A landmark network's file, in the layout of the official one."""
    path = tmp_path_factory.mktemp("wing") / "wing.ckpt"
    torch.save({"state_dict": random_fan(torch.Generator().manual_seed(0)).state_dict()}, path)
    return path


@pytest.fixture
def quick_masks(monkeypatch) -> list[int]:
    """Masks without the landmark network, which takes most of a tiny step's time; collects the images that get some."""
    counted: list[int] = []

    def masks(_fan: object, images: Tensor, _side: int) -> Tensor:
        counted.append(len(images))
        grey = images.detach().mean(dim=1, keepdim=True)
        return F.interpolate(torch.cat([grey, -grey], dim=1), size=(256, 256)).clamp(0, 1)

    monkeypatch.setattr("starcast.train.families.stargan_v2.networks.face_masks", masks)
    return counted


def options(wing: Path | None, **changes) -> StarGANv2Options:
    quick = {"batch_size": 2, "steps": 4, "save_every": 2, "sample_every": 0, "snapshot_every": 0, "workers": 0}
    return replace_options(StarGANv2Options(), **{**TINY, **quick, "landmarks": wing, "device": "cpu", **changes})


def batch_of(dtype: torch.dtype) -> Batch:
    draws = torch.Generator().manual_seed(4)

    def images() -> Tensor:
        return F.interpolate(torch.randn(2, 3, 8, 8, generator=draws, dtype=dtype), size=(32, 32), mode="bilinear")

    first, second = torch.tensor([0, 1]), torch.tensor([1, 0])
    latents = (torch.randn(2, 3, generator=draws, dtype=dtype) for _ in range(2))
    return Batch(images(), first, images(), images(), second, *latents)


def test_a_step_is_the_originals_in_float64(quick_masks):
    """Our step reuses features and masks; the original recomputes them for every update."""
    steps = []
    for take in (training_step, original_step):
        networks = build_networks(StarGANv2Config(domains=2, **TINY), seed=2)
        networks.fan = random_fan(torch.Generator().manual_seed(1))
        for _, module in networks.items():
            module.double()
        averaged, given = averaged_copy(networks), options(None)
        optimizers = build_optimizers(networks, given.optimizer)
        if take is training_step:
            log = take(networks, averaged, optimizers, batch_of(torch.float64), 0, given.loss, average_decay=0.999)
        else:
            log = take(networks, averaged, optimizers, batch_of(torch.float64), 0, given)
        steps.append((networks.state_dicts(), averaged.state_dicts(), log))
    (ours, our_average, our_log), (theirs, their_average, their_log) = steps
    assert our_log.keys() == their_log.keys()
    for name, value in our_log.items():
        assert float(value) == pytest.approx(float(their_log[name]), rel=1e-10), name
    for mine, other in ((ours, theirs), (our_average, their_average)):
        for network, state in mine.items():
            for name, value in state.items():
                torch.testing.assert_close(value, other[network][name], rtol=1e-8, atol=1e-10)


def test_masks_of_the_source_are_made_once_a_step_and_those_of_each_translation_once(quick_masks):
    networks = build_networks(StarGANv2Config(domains=2, **TINY), seed=2)
    networks.fan = random_fan(torch.Generator().manual_seed(1))
    averaged, given = averaged_copy(networks), options(None)
    training_step(
        networks, averaged, build_optimizers(networks, given.optimizer), batch_of(torch.float32), 0, given.loss,
        average_decay=0.999,
    )  # fmt: skip
    assert quick_masks == [2, 2, 2]


def test_no_optimiser_moves_the_landmark_network_and_both_sets_share_it(quick_masks):
    networks = build_networks(StarGANv2Config(domains=2, **TINY), seed=2)
    networks.fan = random_fan(torch.Generator().manual_seed(1))
    before = copy.deepcopy(networks.fan.state_dict())
    averaged, given = averaged_copy(networks), options(None)
    optimizers = build_optimizers(networks, given.optimizer)
    assert "fan" not in optimizers
    assert averaged.fan is networks.fan
    training_step(networks, averaged, optimizers, batch_of(torch.float32), 0, given.loss, average_decay=0.5)
    assert all(torch.equal(value, before[name]) for name, value in networks.fan.state_dict().items())


def test_a_resumed_run_equals_an_unbroken_one(images, wing, tmp_path, quick_masks):
    unbroken = read_checkpoint(run_quietly(images, tmp_path / "a", options(wing)))
    with pytest.raises(Killed):
        run_quietly(images, tmp_path / "b", options(wing), on_step=kill_after(3))
    # the landmark network comes from the checkpoint: its file may be gone
    resumed = read_checkpoint(run_quietly(images, tmp_path / "b", options(tmp_path / "gone"), resume=True))
    for mine, other in ((resumed.averaged, unbroken.averaged), (resumed.networks, unbroken.networks)):
        for network, state in other.items():
            assert all(torch.equal(value, mine[network][name]) for name, value in state.items())
    fan = torch.load(wing, weights_only=True)["state_dict"]
    assert all(torch.equal(value, resumed.averaged["fan"][name]) for name, value in fan.items())
    assert (tmp_path / "a" / "checkpoints").stat()
    assert averaged_networks(unbroken).fan is not None


def test_a_run_can_start_from_a_face_checkpoint_without_the_landmark_file(images, wing, tmp_path, quick_masks):
    first = run_quietly(images, tmp_path / "a", options(wing, steps=1))
    second = read_checkpoint(run_quietly(images, tmp_path / "b", options(None, steps=1), parent=first))
    assert second.averaged["fan"].keys() == read_checkpoint(first).averaged["fan"].keys()


def test_sample_grids_of_a_face_model_are_drawn(images, wing, tmp_path, quick_masks):
    run_quietly(images, tmp_path / "a", options(wing, steps=1, sample_every=1))
    assert list((tmp_path / "a" / "samples").iterdir())


def test_without_a_landmark_network_one_sentence_says_where_it_is(images, tmp_path):
    with pytest.raises(OptionError, match="needs a landmark network: give --landmarks wing.ckpt.*clovaai/stargan-v2"):
        run_quietly(images, tmp_path / "a", options(None))
    assert not (tmp_path / "a").exists()


def test_a_landmark_network_for_a_model_that_takes_none_is_refused(images, wing, tmp_path):
    with pytest.raises(OptionError, match="--landmarks is only for face models"):
        run_quietly(images, tmp_path / "a", options(wing, high_pass=0.0))


def test_a_file_that_holds_no_landmark_network_is_named(images, tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=r"other.ckpt.*landmark network"):
        run_quietly(images, tmp_path / "a", options(tmp_path / "other.ckpt"))


def test_the_recipe_of_celeba_hq_is_the_official_one():
    recipe = read_recipe("celeba-hq")
    assert (recipe.network.image_size, recipe.network.high_pass, recipe.network.max_channels) == (256, 1, 512)
    assert (recipe.loss.lambda_ds, recipe.loss.ds_steps, recipe.course.steps) == (1, 100_000, 100_000)
    assert (recipe.data.batch_size, recipe.network.style_dim, recipe.network.latent_dim) == (8, 64, 16)


@pytest.mark.slow  # the landmark network takes 2 s a step; with STEPS = 20 the test passes, too
def test_a_small_face_model_that_is_resumed_halfway_equals_an_unbroken_one_bit_for_bit(images, wing, tmp_path):
    small = {"image_size": 64, "channel_base": 512, "steps": STEPS, "save_every": STEPS // 2}
    unbroken = read_checkpoint(run_quietly(images, tmp_path / "a", options(wing, **small)))
    half = read_checkpoint(run_quietly(images, tmp_path / "b", options(wing, **{**small, "steps": STEPS // 2})))
    assert half.step == STEPS // 2
    resumed = read_checkpoint(run_quietly(images, tmp_path / "b", options(wing, **small), resume=True))
    assert resumed.step == unbroken.step == STEPS
    for mine, other in ((resumed.averaged, unbroken.averaged), (resumed.networks, unbroken.networks)):
        for network, state in other.items():
            assert all(torch.equal(value, mine[network][name]) for name, value in state.items()), network
            changed = any(not torch.equal(value, half.networks[network][name]) for name, value in state.items())
            assert changed == (network != "fan"), network


def test_an_official_folder_of_a_face_model_starts_a_run_with_its_discriminator_and_landmark_network(
    images, wing, tmp_path, quick_masks
):
    """The layout that the official program writes: `fan` is in both files, and there are optimisers beside them."""
    trained = build_networks(StarGANv2Config(domains=2, **TINY), seed=5)
    trained.fan = random_fan(torch.Generator().manual_seed(7))
    states = {name: dict(network.state_dict()) for name, network in trained.items()}
    assert set(states) == {"generator", "mapping_network", "style_encoder", "discriminator", "fan"}
    folder = tmp_path / "celeba_hq"
    folder.mkdir()
    torch.save(states, folder / "000002_nets.ckpt")
    torch.save({name: states[name] for name in states if name != "discriminator"}, folder / "000002_nets_ema.ckpt")
    optimizers = build_optimizers(trained, options(None).optimizer)
    torch.save({name: one.state_dict() for name, one in optimizers.items()}, folder / "000002_optims.ckpt")
    still = {"steps": 1, "learning_rate": 0.0, "mapping_learning_rate": 0.0}
    started = read_checkpoint(run_quietly(images, tmp_path / "b", options(None, **still), parent=folder))
    for network, state in states.items():
        assert all(torch.equal(value, started.networks[network][name]) for name, value in state.items()), network
    with pytest.raises(CheckpointError, match="has no optimizers, so its run cannot be continued: leave --resume out"):
        start_elsewhere(folder, RunFolder(tmp_path / "c"), lambda _: None)
