"""Runs that start from a checkpoint: what is taken from it, what starts fresh, and that both are said."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from same_bits import assert_same_bits
from short_runs import Killed, kill_after, run_quietly

from starcast.errors import CheckpointError, OptionError
from starcast.export.inspect import facts_of
from starcast.options import replace_options
from starcast.train.checkpoint.file import read_checkpoint
from starcast.train.cli import train as command
from starcast.train.data.folders import scan
from starcast.train.families import family
from starcast.train.families.stargan_v2.networks import build_networks
from starcast.train.start_checkpoint import open_parent, sizes_of
from starcast.train.state import first_state

ORACLE = Path(__file__).resolve().parents[1] / "oracles/stargan_v2_hpf0"


def data_set(folder: Path, *names: str) -> Path:
    """Two plain images for each domain."""
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for image in range(2):
            Image.new("RGB", (33, 32), (60 * number, 90 * image, 40)).save(folder / name / f"{image}.png")
    return folder


@pytest.fixture
def parent(images, tmp_path, small):
    """The last checkpoint of a run of three steps on the domains ink and photo."""
    return run_quietly(images, tmp_path / "parent", replace_options(small, steps=3, seed=5))


def start(options, data, path, said=None):
    lines = [] if said is None else said
    return first_state(options, scan(data), open_parent(path, lines.append), lines.append)


def same(module, state):
    return all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def save_official(folder, networks, name="100000", ema=None):
    """`networks` as the official program saves them; the average is that of `ema`."""
    folder.mkdir(parents=True, exist_ok=True)
    states = networks.state_dicts()
    torch.save(states, folder / f"{name}_nets.ckpt")
    averaged = (ema or networks).state_dicts()
    averaged = {network: state for network, state in averaged.items() if network != "discriminator"}
    torch.save(averaged, folder / f"{name}_nets_ema.ckpt")
    return folder


def official_networks(options, domains, seed):
    return build_networks(family("stargan_v2").configure(options, domains), seed)


# What is taken


@torch.no_grad()
def test_at_step_0_the_outputs_are_those_of_the_official_program(small, tmp_path):
    data, said = data_set(tmp_path / "data", "cat", "dog", "wild"), []
    read = open_parent(ORACLE / "100000_nets_ema.ckpt", said.append)
    state = first_state(replace_options(small, **sizes_of(read, type(small))), scan(data), read, said.append)
    with np.load(ORACLE / "inputs.npz") as inputs, np.load(ORACLE / "styles.npz") as styles:
        latents, domains = torch.from_numpy(inputs["z"]), torch.from_numpy(inputs["y_trg"])
        source, expected_style = torch.from_numpy(inputs["x"][:1]), styles["s_latent"]
    with np.load(ORACLE / "outputs_latent.npz") as outputs:
        expected = outputs["g_latent"][:1]
    for networks in (state.averaged, state.networks):
        style = networks.mapping_network(latents, domains)
        assert np.abs(style.numpy() - expected_style).max() < 1e-4
        assert np.abs(networks.generator(source, style[:1]).numpy() - expected).max() < 1e-3
    assert state.step == 0
    assert all(not optimizer.state for optimizer in state.optimizers.values())
    assert said == [
        f"Starting from {ORACLE / '100000_nets_ema.ckpt'} (step 100,000): generator, mapping network, style encoder",
        "Fresh, because that checkpoint has none: discriminator (100000_nets.ckpt beside it may have it: give the "
        "folder to use both)",
        "It has only averaged networks: training starts from these",
        "Domains continued in order, because official checkpoints have no names: 0 as cat, 1 as dog, 2 as wild",
    ]


def test_an_official_folder_gives_the_average_and_the_networks_as_trained(small, tmp_path):
    trained, averaged = official_networks(small, 2, 1), official_networks(small, 2, 2)
    folder = save_official(tmp_path / "expr/checkpoints/afhq", trained, ema=averaged)
    save_official(tmp_path / "expr/checkpoints/afhq", official_networks(small, 2, 3), "050000")
    said = []
    state = start(small, data_set(tmp_path / "data", "cat", "dog"), tmp_path / "expr", said)
    for name, module in state.networks.items():
        assert same(module, trained.state_dicts()[name])
    for name, module in state.averaged.items():
        assert same(module, averaged.state_dicts()[name])
    assert said[0] == f"{folder}: 100000_nets_ema.ckpt is the newest of 2 checkpoints"
    assert said[2] == (
        f"The networks as trained are from {folder / '100000_nets.ckpt'}, the averaged ones from the file above"
    )
    assert "Fresh" not in "".join(said)


def test_a_file_of_networks_as_trained_is_the_start_of_the_average_too(small, tmp_path):
    trained, said = official_networks(small, 2, 1), []
    folder = save_official(tmp_path / "official", trained, ema=official_networks(small, 2, 2))
    state = start(small, data_set(tmp_path / "data", "a", "b"), folder / "100000_nets.ckpt", said)
    for networks in (state.networks, state.averaged):
        assert all(same(module, trained.state_dicts()[name]) for name, module in networks.items())
    assert "It has no averaged networks: the average starts from the networks as trained" in said
    state.networks.generator.from_rgb.weight.data.zero_()
    assert state.averaged.generator.from_rgb.weight.abs().sum() > 0  # a copy


def test_official_files_of_two_models_are_not_mixed(small, tmp_path):
    save_official(tmp_path / "mixed", official_networks(small, 2, 1))
    other = save_official(tmp_path / "other", official_networks(replace_options(small, latent_dim=5), 2, 1))
    shutil.copy(other / "100000_nets.ckpt", tmp_path / "mixed")
    with pytest.raises(CheckpointError, match="have different sizes, so they belong to two models"):
        open_parent(tmp_path / "mixed", lambda _: None)


def test_our_checkpoint_gives_its_networks_and_its_average(images, parent, small):
    before, said = read_checkpoint(parent), []
    state = start(small, images, parent, said)
    assert all(same(module, before.networks[name]) for name, module in state.networks.items())
    assert all(same(module, before.averaged[name]) for name, module in state.averaged.items())
    assert not same(state.averaged.generator, before.networks["generator"])
    assert said == [
        f"Starting from {parent} (step 3): generator, mapping network, style encoder, discriminator",
        "Domains continued: ink, photo",
    ]


def test_a_snapshot_starts_training_from_its_average_with_a_fresh_discriminator(images, tmp_path, small):
    run_quietly(images, tmp_path / "run", replace_options(small, steps=3, snapshot_every=2))
    path, said = tmp_path / "run/checkpoints/step-000002.snapshot.pt", []
    before, state = read_checkpoint(path), start(small, images, path, said)
    for networks in (state.networks, state.averaged):
        assert all(same(getattr(networks, name), before.averaged[name]) for name in before.averaged)
    fresh = build_networks(state.config, small.course.seed).discriminator
    assert same(state.networks.discriminator, fresh.state_dict())
    assert said[1:3] == [
        "Fresh, because that checkpoint has none: discriminator",
        "It has only averaged networks: training starts from these",
    ]


# Other domains


@pytest.mark.parametrize("names", [("brush", "ink", "photo"), ("photo",), ("brush", "crayon"), ("Ink", "ink", "photo")])
def test_other_domains_keep_the_shared_layers_and_those_of_the_names_that_stay(tmp_path, parent, small, names):
    before, said = read_checkpoint(parent), []
    state = start(small, data_set(tmp_path / "data", *names), parent, said)
    known = {"ink": 0, "photo": 1}
    fresh = build_networks(state.config, small.course.seed).state_dicts()
    for networks, stored in ((state.networks, before.networks), (state.averaged, before.averaged)):
        for network, module in networks.items():
            for name, value in module.state_dict().items():
                if name.startswith("unshared."):
                    _, head, *rest = name.split(".")
                    number = known.get(names[int(head)])
                    wanted = fresh[network][name]
                    if number is not None:
                        wanted = stored[network][".".join(["unshared", str(number), *rest])]
                    assert torch.equal(value, wanted), (network, name)
                elif network == "discriminator" and len(value) == len(names) and name.startswith("main.7."):
                    for domain, label in enumerate(names):
                        source = fresh[network][name][domain]
                        if label in known:
                            source = stored[network][name][known[label]]
                        assert torch.equal(value[domain], source), (network, name, domain)
                else:
                    assert torch.equal(value, stored[network][name]), (network, name)
    assert "main.7.weight" in fresh["discriminator"]  # 32 px: three blocks, the 4x4 layer, the last one
    new, gone = [name for name in names if name not in known], [name for name in known if name not in names]
    parts = {"continued": [name for name in names if name in known], "fresh": new, "left out": gone}
    assert said[-1] == "Domains " + "; ".join(f"{what}: {', '.join(who)}" for what, who in parts.items() if who)


def test_domains_in_another_order_bring_their_layers_along(images, tmp_path, parent, small):
    before = read_checkpoint(parent)
    state = first_state(small, scan(images, ("photo", "ink")), open_parent(parent, lambda _: None), lambda _: None)
    heads = state.networks.mapping_network.unshared
    assert torch.equal(heads[0][0].weight, before.networks["mapping_network"]["unshared.1.0.weight"])
    assert torch.equal(heads[1][0].weight, before.networks["mapping_network"]["unshared.0.0.weight"])


def test_an_official_checkpoint_of_another_number_of_domains_knows_none_of_them(small, tmp_path):
    trained, said = official_networks(small, 3, 1), []
    folder = save_official(tmp_path / "official", trained)
    state = start(small, data_set(tmp_path / "data", "a", "b"), folder, said)
    assert same(state.networks.generator, trained.generator.state_dict())
    fresh = build_networks(state.config, small.course.seed)
    assert same(state.networks.mapping_network.unshared, fresh.mapping_network.unshared.state_dict())
    assert same(state.averaged.style_encoder.unshared, fresh.style_encoder.unshared.state_dict())
    assert same(state.networks.style_encoder.shared, trained.style_encoder.shared.state_dict())
    assert said[-1] == ("Domains that start fresh, because the checkpoint has 3 domains without names: a, b")


def test_a_family_that_cannot_change_its_domains_says_so(images, tmp_path, parent, small, monkeypatch):
    monkeypatch.setattr(
        "starcast.train.families.stargan_v2.family.FAMILY",
        dataclasses.replace(family("stargan_v2"), carry_over=None),
    )
    assert start(small, images, parent).step == 0
    with pytest.raises(CheckpointError, match="was trained on ink, photo, and StarGAN v2 cannot start with other"):
        start(small, data_set(tmp_path / "data", "a", "b"), parent)


# As a run


def test_such_a_run_is_recorded_and_resumes_to_the_bit(images, tmp_path, parent, small):
    options = replace_options(small, steps=4, seed=8)
    whole = run_quietly(images, tmp_path / "whole", options, parent=parent)
    run_quietly(images, tmp_path / "parts", replace_options(options, steps=2), parent=parent)
    parts = run_quietly(images, tmp_path / "parts", options, resume=True)
    assert_same_bits(whole, parts)
    assert (tmp_path / "whole/losses.jsonl").read_bytes() == (tmp_path / "parts/losses.jsonl").read_bytes()
    recorded = {
        "path": str(parent), "sha256": hashlib.sha256(parent.read_bytes()).hexdigest(), "family": "stargan_v2",
        "layout": "starcast", "step": 3, "domains": ["ink", "photo"],
    }  # fmt: skip
    starts = json.loads((tmp_path / "parts/run.json").read_text())["starts"]
    assert [(entry["step"], entry["from"]) for entry in starts] == [(0, recorded), (2, recorded)]
    assert read_checkpoint(parts).parent == recorded
    assert facts_of(parts)["parent"] == recorded
    again = run_quietly(images, tmp_path / "grandchild", replace_options(options, steps=1), parent=parts)
    assert read_checkpoint(again).parent["parent"] == recorded
    assert not read_checkpoint(again).descends_from_official


def test_a_grandchild_of_an_official_checkpoint_descends_from_it(small, tmp_path):
    data = data_set(tmp_path / "data", "a", "b")
    folder = save_official(tmp_path / "official", official_networks(small, 2, 1))
    options = replace_options(small, steps=1, batch_size=2)
    child = run_quietly(data, tmp_path / "child", options, parent=folder)
    grandchild = run_quietly(data, tmp_path / "grandchild", options, parent=tmp_path / "child")
    assert read_checkpoint(child).descends_from_official
    assert read_checkpoint(grandchild).descends_from_official


def test_killed_before_its_first_checkpoint_it_starts_from_the_same_weights(images, tmp_path, parent, small):
    whole = run_quietly(images, tmp_path / "whole", small, parent=parent)
    for way in ({"resume": True}, {"parent": parent}):
        with pytest.raises(Killed):
            run_quietly(images, tmp_path / "run", small, parent=parent, on_step=kill_after(2))
        assert_same_bits(whole, run_quietly(images, tmp_path / "run", small, **way))
        shutil.rmtree(tmp_path / "run")


@pytest.mark.parametrize("change", ["changed", "gone"])
def test_its_beginning_is_not_repeated_from_another_file(images, tmp_path, parent, small, change):
    with pytest.raises(Killed):
        run_quietly(images, tmp_path / "run", small, parent=parent, on_step=kill_after(2))
    if change == "gone":
        parent.rename(tmp_path / "moved.pt")
    else:
        run_quietly(images, tmp_path / "other", replace_options(small, steps=3, seed=6))
        shutil.copy(tmp_path / "other/checkpoints/step-000003.pt", parent)
    with pytest.raises(CheckpointError, match="has changed since" if change == "changed" else "does not exist"):
        run_quietly(images, tmp_path / "run", small, resume=True)


def test_it_is_refused_where_it_contradicts(images, tmp_path, parent, small):
    with pytest.raises(OptionError, match=rf"--style-dim is 5, but {parent} was trained with 4: leave the option out"):
        run_quietly(images, tmp_path / "run", replace_options(small, style_dim=5), parent=parent)
    with pytest.raises(OptionError, match="cannot be resumed from another checkpoint"):
        run_quietly(images, tmp_path / "run", small, parent=parent, resume=True)
    with pytest.raises(OptionError, match="already holds a run"):
        run_quietly(images, tmp_path / "parent", small, parent=parent)
    assert not (tmp_path / "run").exists()


# The command


def invoke(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments], standalone_mode=False)


def test_sizes_come_from_the_checkpoint_and_all_else_from_the_command(images, tmp_path, parent, small):
    dry = invoke(images, "-o", tmp_path / "run", "--from", tmp_path / "parent", "--seed", 3, "--dry-run")
    options = json.loads(dry.stdout)
    assert (options["image_size"], options["style_dim"], options["mapping_width"]) == (32, 4, 8)
    assert (options["learning_rate"], options["batch_size"], options["seed"]) == (1e-4, 8, 3)
    same_size = invoke(images, "-o", tmp_path / "run", "--from", parent, "--image-size", 32, "--dry-run")
    assert json.loads(same_size.stdout)["image_size"] == 32
    refused = invoke(images, "-o", tmp_path / "run", "--from", parent, "--image-size", 64)
    assert str(refused.exception) == (
        f"--image-size is 64, but {parent} was trained with 32: leave the option out, or start without --from"
    )
    both = invoke(images, "-o", tmp_path / "parent", "--from", parent, "--resume")
    assert str(both.exception) == "--from starts a new run, and --resume continues one: leave one of them out"


def test_the_command_trains_from_a_folder_and_goes_on(images, tmp_path, parent):
    flags = ("--batch", 2, "--workers", 0, "--sample-every", 0, "--device", "cpu")
    result = invoke(images, "-o", tmp_path / "run", "--from", tmp_path / "parent", "--steps", 1, *flags)
    assert (result.exception, result.return_value) == (None, 0)
    assert f"{tmp_path / 'parent'}: step-000003.pt is the newest checkpoint" in result.stderr
    assert "Domains continued: ink, photo" in result.stderr
    resumed = invoke(images, "-o", tmp_path / "run", "--resume", "--steps", 2)
    assert (resumed.exception, resumed.return_value) == (None, 0)
    assert (tmp_path / "run/checkpoints/step-000002.pt").exists()
