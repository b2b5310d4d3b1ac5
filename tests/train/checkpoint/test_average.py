"""Averages of checkpoints: of all networks that a family averages, and only of files that belong together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from starcast.errors import CheckpointError, OptionError
from starcast.train.checkpoint.average import Mix, choose_greedily, mix_members, shares_of, write_mix
from starcast.train.checkpoint.file import hash_of, read_checkpoint, write_checkpoint
from starcast.train.checkpoint.folder import all_checkpoints
from starcast.train.checkpoint.members import find_members
from starcast.train.families import family
from starcast.train.families.stargan_v1.networks import StarGANv1Config
from starcast.train.families.stargan_v2.networks import StarGANv2Config, averaged_copy, build_networks
from starcast.train.families.stylegan2.networks import StyleGAN2Config
from starcast.train.start_checkpoint import open_parent

V2 = StarGANv2Config(
    image_size=32, domains=2, style_dim=4, latent_dim=3, mapping_width=6, channel_base=64, max_channels=5
)
V1 = StarGANv1Config(
    image_size=32, generator_width=4, discriminator_width=2, discriminator_layers=5, residual_blocks=1, attributes=2,
    classes=0,
)  # fmt: skip
STYLEGAN2 = StyleGAN2Config(image_size=8, latent_dim=5, mapping_depth=1, widths=(3, 2))
CONFIGS = {"StarGAN v2": V2, "StarGAN v1": V1, "StyleGAN2": STYLEGAN2}


def quiet(_line):
    """A progress function that discards its lines."""


def save_ours(path: Path, seed: int, config=V2, names=None, **facts) -> Path:
    """A snapshot of random networks, as a run writes it."""
    networks = family(config.family).random_networks(config, seed)
    names = names or tuple(f"domain {number}" for number in range(config.domains))
    write_checkpoint(path, config=config, domain_names=names, averaged=networks, **{"step": seed, **facts})
    return path


def save_official(path: Path, seed: int, *, ema: bool = True, config=V2) -> Path:
    """What the official program saves; with a discriminator where nothing is averaged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    networks = build_networks(config, seed)
    torch.save((averaged_copy(networks) if ema else networks).state_dicts(), path)
    return path


def mean_of(checkpoints, weights, network, name):
    """The weighted mean in float64, by numpy."""
    values = [checkpoint.averaged[network][name].numpy().astype(np.float64) for checkpoint in checkpoints]
    return np.average(values, axis=0, weights=weights).astype(np.float32)


def average(paths, target, weights=(), **options):
    members = find_members(paths, options.get("last"), options.get("progress", quiet))
    shares = shares_of(weights, members)
    write_mix(target, mix_members(members, shares, options.get("progress", quiet)), members, shares)
    return read_checkpoint(target)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("weights", [(), (1, 0.25, 2)], ids=["equal", "weighted"])
def test_every_averaged_network_is_the_weighted_mean(tmp_path, config, weights):
    paths = [save_ours(tmp_path / f"{seed}.pt", seed, config) for seed in (1, 2, 3)]
    mixed = average(paths, tmp_path / "average.pt", weights)
    assert set(mixed.averaged) == set(family(config.family).averaged)
    constant = family(config.family).constants
    checkpoints = [read_checkpoint(path) for path in paths]
    for network, state in mixed.averaged.items():
        for name, value in state.items():
            if not f"{network}.{name}".startswith(constant):
                wanted = mean_of(checkpoints, weights or None, network, name)
                np.testing.assert_array_equal(value.numpy(), wanted, err_msg=f"{network}.{name}")


def test_noise_that_training_never_changes_is_the_newests_and_a_line_says_so(tmp_path):
    paths = [save_ours(tmp_path / f"{seed}.pt", seed, STYLEGAN2) for seed in (1, 2)]
    lines = []
    mixed = average(paths, tmp_path / "average.pt", progress=lines.append)
    newest = read_checkpoint(paths[1]).averaged["generator"]["noise_0"]
    assert torch.equal(mixed.averaged["generator"]["noise_0"], newest)
    assert any("generator.noise_0" in line and "2.pt" in line for line in lines)
    running = mean_of(list(map(read_checkpoint, paths)), None, "mapping_network", "mean")
    np.testing.assert_array_equal(mixed.averaged["mapping_network"]["mean"].numpy(), running)


def test_sums_are_kept_in_float64_and_whole_numbers_are_not_averaged():
    mix = Mix(())
    for value, count in ((2.0**24, 5), (1.0, 7), (1.0, 9)):
        mix.add({"net": {"w": torch.tensor([value]), "num_batches_tracked": torch.tensor(count)}}, 1.0)
    states = mix.states()["net"]
    assert states["w"].item() == np.float32((2**24 + 2) / 3)  # in float32 the two ones would be lost
    assert states["num_batches_tracked"].dtype == torch.int64
    assert states["num_batches_tracked"].item() == 9


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=5),
    st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6),
)
def test_equal_weights_are_their_own_average_to_the_last_bit(values, weights):
    mix = Mix(())
    for weight in weights:
        mix.add({"net": {"w": torch.tensor(values)}}, weight)
    assert torch.equal(mix.states()["net"]["w"], torch.tensor(values))


def test_files_of_networks_as_trained_are_left_out_whatever_their_names(tmp_path):
    averaged = [save_official(tmp_path / "expr" / name, seed) for seed, name in enumerate(("a_nets.ckpt", "b.ckpt"))]
    raw = save_official(tmp_path / "expr" / "c_nets_ema.ckpt", 7, ema=False)
    lines = []
    members = find_members([averaged[0], raw, averaged[1]], None, lines.append)
    assert [member.path for member in members] == averaged
    assert any(str(raw) in line for line in lines)


def test_where_nothing_is_averaged_the_networks_as_trained_are(tmp_path):
    raw = [save_official(tmp_path / f"{seed}_nets.ckpt", seed, ema=False) for seed in (1, 2)]
    lines = []
    assert len(find_members(raw, None, lines.append)) == 2
    assert any("as trained" in line for line in lines)


def test_an_official_folder_gives_its_averaged_files_oldest_first(tmp_path):
    folder = tmp_path / "expr" / "checkpoints" / "afhq"
    for seed, step in enumerate(("100000", "20000", "1000000")):
        save_official(folder / f"{step}_nets_ema.ckpt", seed)
    save_official(folder / "1000000_nets.ckpt", 9, ema=False)
    torch.save({"generator": {"state": {}, "param_groups": []}}, folder / "1000000_optims.ckpt")
    steps = [member.step for member in find_members([tmp_path / "expr"], None, quiet)]
    assert steps == [20_000, 100_000, 1_000_000]
    assert [member.step for member in find_members([tmp_path / "expr"], 2, quiet)] == [100_000, 1_000_000]


def test_a_step_of_a_run_counts_once_and_last_takes_the_newest(tmp_path):
    checkpoints = tmp_path / "run" / "checkpoints"
    for seed in (5, 10, 20):
        save_ours(checkpoints / f"step-{seed:06d}.snapshot.pt", seed)
    save_ours(checkpoints / "step-000020.pt", 20)
    assert [member.step for member in find_members([tmp_path / "run"], None, quiet)] == [5, 10, 20]
    assert [member.step for member in find_members([tmp_path / "run"], 2, quiet)] == [10, 20]
    files = sorted(checkpoints.iterdir())  # as a shell expands run/checkpoints/*
    lines = []
    assert len(find_members(files, None, lines.append)) == 3
    assert any("same weights as" in line for line in lines)


def test_a_folder_of_several_models_is_refused_with_their_names(tmp_path):
    for name in ("afhq", "celeba_hq"):
        save_official(tmp_path / name / "100000_nets_ema.ckpt", 1)
    with pytest.raises(CheckpointError, match="2 models.*afhq.*celeba_hq"):
        all_checkpoints(tmp_path)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (lambda path: save_ours(path, 2, V1), "StarGAN v1"),
        (lambda path: save_ours(path, 2, StarGANv2Config(**{**vars(V2), "style_dim": 7})), "style_dim"),
        (lambda path: save_official(path, 2, config=StarGANv2Config(**{**vars(V2), "latent_dim": 9})), "latent_dim"),
        (lambda path: save_ours(path, 2, names=("domain 1", "domain 0")), "domain 1, domain 0"),
    ],
    ids=["another family", "another size", "another size of an official file", "other domains"],
)
def test_what_does_not_fit_is_refused_in_one_sentence_that_names_both(tmp_path, other, reason):
    first, second = save_ours(tmp_path / "one.pt", 1), other(tmp_path / "two.pt")
    with pytest.raises(CheckpointError) as caught:
        find_members([first, second], None, quiet)
    sentence = str(caught.value)
    assert "one.pt" in sentence
    assert "two.pt" in sentence
    assert reason in sentence
    assert "\n" not in sentence


def test_ours_and_official_files_of_the_same_shapes_mix_and_the_official_licence_stays(tmp_path):
    ours, official = save_ours(tmp_path / "one.pt", 1), save_official(tmp_path / "000100_nets_ema.ckpt", 2)
    mixed = average([ours, official], tmp_path / "average.pt")
    assert mixed.domain_names == ("domain 0", "domain 1")
    assert mixed.descends_from_official
    assert not average([ours, save_ours(tmp_path / "two.pt", 3)], tmp_path / "other.pt").descends_from_official
    trained = open_parent(tmp_path / "average.pt", quiet).record  # what a run records that starts from it
    assert [member["layout"] for member in trained["members"]] == ["starcast", "official"]


def test_the_average_records_its_members(tmp_path):
    paths = [save_ours(tmp_path / f"{seed}.pt", seed) for seed in (1, 2)]
    mixed = average(paths, tmp_path / "average.pt", (1, 3))
    assert [member["path"] for member in mixed.members] == list(map(str, paths))
    assert [member["sha256"] for member in mixed.members] == list(map(hash_of, paths))
    assert [member["weight"] for member in mixed.members] == [0.25, 0.75]
    assert mixed.step == 2


@pytest.mark.parametrize("weights", [(1,), (1, -1), (0, 0), (float("inf"), 1)])
def test_weights_that_are_no_shares_are_refused(tmp_path, weights):
    members = find_members([save_ours(tmp_path / f"{seed}.pt", seed) for seed in (1, 2)], None, quiet)
    with pytest.raises(OptionError, match="--weights"):
        shares_of(weights, members)


def test_one_checkpoint_alone_is_refused(tmp_path):
    with pytest.raises(OptionError, match="at least two"):
        find_members([save_ours(tmp_path / "one.pt", 1)], None, quiet)


def test_greedy_starts_from_the_best_and_keeps_what_makes_the_mix_better(tmp_path):
    members = find_members([save_ours(tmp_path / f"{seed}.pt", seed) for seed in (1, 2, 3)], None, quiet)
    states = [read_checkpoint(member.path).averaged for member in members]
    name = next(iter(states[0]["generator"]))
    wanted = (states[0]["generator"][name] + states[2]["generator"][name]) / 2  # the mix of the first and the third

    def judge(networks):
        return -float((networks.generator.state_dict()[name] - wanted).norm())

    choice = choose_greedily(members, (1.0, 1.0, 1.0), judge, quiet)
    assert [member.path.name for member in choice.members] == ["1.pt", "3.pt"]
    assert choice.score > choice.best
    both = mix_members([members[0], members[2]], (1.0, 1.0), quiet).states()
    assert torch.equal(choice.mix.states()["generator"][name], both["generator"][name])
