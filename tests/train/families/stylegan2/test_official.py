"""Files of the two original programs are read whole, whatever their sizes, and say what they lack."""

from __future__ import annotations

import itertools
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stylegan2_oracles import LUKAU2357, ROSINALITY, load, lukau2357_content, lukau2357_model, numbers
from torch import Tensor

from starcast.errors import CheckpointError
from starcast.train.families.stylegan2.lukau2357 import checkpoint_files, read_lukau2357
from starcast.train.families.stylegan2.networks import empty_networks
from starcast.train.families.stylegan2.official import UNSAFE_FILES, check_config, describe_foreign, read_official
from starcast.train.families.stylegan2.rosinality import read_rosinality

TRAINING = ROSINALITY / "000000.pt"
SIZES = st.integers(1, 6).flatmap(lambda count: st.lists(st.integers(1, 9), min_size=count + 1, max_size=count + 1))


def rosinality_generator(widths: list[int], latent: int, depth: int, colours: int = 3) -> dict[str, Tensor]:
    """A generator's names and shapes in rosinality's layout, as the reference lists them."""
    state: dict[str, Tensor] = {}

    def styled(name: str, before: int, after: int, kernel: int) -> None:
        state[f"{name}.conv.weight"] = torch.rand(1, after, before, kernel, kernel)
        state[f"{name}.conv.modulation.weight"] = torch.rand(before, latent)
        state[f"{name}.conv.modulation.bias"] = torch.rand(before)
        if kernel == 3:
            state[f"{name}.noise.weight"] = torch.rand(1)
            state[f"{name}.activate.bias"] = torch.rand(after)
        else:
            state[f"{name}.bias"] = torch.rand(1, after, 1, 1)

    for number in range(depth):
        state |= {
            f"style.{number + 1}.weight": torch.rand(latent, latent),
            f"style.{number + 1}.bias": torch.rand(latent),
        }
    state["input.input"] = torch.rand(1, widths[0], 4, 4)
    styled("conv1", widths[0], widths[0], 3)
    styled("to_rgb1", widths[0], colours, 1)
    state["noises.noise_0"] = torch.rand(1, 1, 4, 4)
    for number, (before, after) in enumerate(itertools.pairwise(widths)):
        styled(f"convs.{2 * number}", before, after, 3)
        state[f"convs.{2 * number}.conv.blur.kernel"] = torch.outer(*2 * [torch.tensor([1.0, 3, 3, 1])]) / 16
        styled(f"convs.{2 * number + 1}", after, after, 3)
        styled(f"to_rgbs.{number}", after, colours, 1)
        state[f"to_rgbs.{number}.upsample.kernel"] = torch.outer(*2 * [torch.tensor([1.0, 3, 3, 1])]) / 16
        for half in (1, 2):
            state[f"noises.noise_{2 * number + half}"] = torch.rand(1, 1, 8 << number, 8 << number)
    return state


def missing_and_misshapen(checkpoint: Any) -> list[str]:
    """Parameters that the networks have and the file lacks, or has in another shape."""
    wrong = []
    for states in (checkpoint.averaged, checkpoint.networks):
        for name, module in empty_networks(checkpoint.config, training=states is checkpoint.networks).items():
            for key, value in module.state_dict().items():
                if states is not None and (key not in states[name] or states[name][key].shape != value.shape):
                    wrong.append(f"{name}.{key}")
        if states is None:
            break
    return wrong


@settings(max_examples=20, deadline=None)
@given(widths=SIZES, latent=st.integers(1, 12), depth=st.integers(1, 9), channels=st.sampled_from([1, 3, 4]))
def test_a_converted_file_of_any_size_is_read_whole(widths: list[int], latent: int, depth: int, channels: int) -> None:
    state = rosinality_generator(widths, latent, depth, channels)
    content = {"g_ema": state, "latent_avg": torch.rand(latent)}
    checkpoint = read_rosinality(Path("converted.pt"), content)
    config = checkpoint.config
    assert (config.image_size, config.latent_dim, config.mapping_depth) == (2 << len(widths), latent, depth)
    assert (tuple(config.sizes.values()), config.channels) == (tuple(widths), channels)
    assert config.fir_filter == (0.125, 0.375, 0.375, 0.125)
    assert (checkpoint.step, checkpoint.networks, config.mean_style) == (None, None, "average")
    assert [name for name in missing_and_misshapen(checkpoint) if name] == []
    check_config(config, checkpoint.averaged, "the file")
    stored = checkpoint.averaged["generator"]["convs.0.conv.weight"]
    assert torch.equal(stored, state["convs.1.conv.weight"][0])


def test_a_training_file_of_rosinality_is_full() -> None:
    checkpoint = read_rosinality(TRAINING, load(TRAINING))
    assert (checkpoint.step, checkpoint.layout, checkpoint.family) == (0, "official", "stylegan2")
    assert missing_and_misshapen(checkpoint) == []
    assert checkpoint.networks is not None
    assert checkpoint.optimizers is not None
    assert sorted(checkpoint.optimizers) == ["discriminator", "generator", "mapping_network"]
    assert not torch.equal(checkpoint.networks["generator"]["start"], checkpoint.averaged["generator"]["start"])
    assert checkpoint.config.mean_style == "samples"  # it stores no mean style


def test_the_converters_file_has_the_averages_alone() -> None:
    content = {"g_ema": load(TRAINING)["g_ema"], "latent_avg": numbers(ROSINALITY)["latent_avg"]}
    checkpoint = read_official(Path("550000.pt"), content, load)
    assert checkpoint is not None
    assert (checkpoint.networks, checkpoint.optimizers, checkpoint.step) == (None, None, 550_000)
    assert torch.equal(checkpoint.averaged["mapping_network"]["mean"], content["latent_avg"])


def test_names_of_wrappers_are_dropped() -> None:
    content = load(TRAINING)
    content["g_ema"] = {f"module.{name}": value for name, value in content["g_ema"].items()}
    checkpoint = read_official(TRAINING, content, load)
    assert checkpoint is not None
    assert missing_and_misshapen(checkpoint) == []


def test_a_folder_of_lukau2357_is_full(tmp_path: Path) -> None:
    model = lukau2357_model(tmp_path / "model")
    for place in (model, model / "checkpoint_2"):
        files = checkpoint_files(place)
        assert files is not None
        checkpoint = read_official(place, {name: load(path) for name, path in files.items()}, load)
        assert checkpoint is not None
        assert (checkpoint.step, checkpoint.note) == (2, None)
        assert missing_and_misshapen(checkpoint) == []
        assert (checkpoint.config.resampling, checkpoint.config.mean_style) == ("bilinear", "average")
        assert checkpoint.networks is not None
        assert float(checkpoint.networks["path_length"]["mean"]) == pytest.approx(0.37)
        assert sorted(checkpoint.optimizers or ()) == ["discriminator", "generator", "mapping_network"]


def test_the_newest_checkpoint_of_a_model_is_taken(tmp_path: Path) -> None:
    model = lukau2357_model(tmp_path / "model")
    shutil.copytree(model / "checkpoint_2", model / "checkpoint_10")
    (model / "checkpoint_11").mkdir()  # a killed process left it empty
    files = checkpoint_files(model)
    assert files is not None
    assert {path.parent.name for path in files.values()} == {"checkpoint_10"}
    assert checkpoint_files(tmp_path) is None


def test_a_folder_without_averages_or_discriminator_says_so(tmp_path: Path) -> None:
    checkpoint_folder = lukau2357_model(tmp_path / "model") / "checkpoint_2"
    for name in ("MNE.pth", "GE.pth"):
        (checkpoint_folder / name).unlink()
    checkpoint = read_lukau2357(checkpoint_folder, lukau2357_content(checkpoint_folder))
    assert checkpoint is not None
    assert (checkpoint.note or "").endswith("has no averaged networks (MNE.pth, GE.pth) yet")
    assert missing_and_misshapen(checkpoint) == []
    (checkpoint_folder / "D.pth").unlink()
    checkpoint = read_lukau2357(checkpoint_folder, lukau2357_content(checkpoint_folder))
    assert checkpoint is not None
    assert (checkpoint.networks, checkpoint.optimizers) == (None, None)


def test_constructor_arguments_are_read(tmp_path: Path) -> None:
    folder = lukau2357_model(tmp_path / "model") / "checkpoint_2"
    content = lukau2357_content(folder)
    for name in ("G", "GE"):
        content[name] |= {"use_tanh_last": True, "fir_filter": [1, 2, 1]}
    for name in ("MN", "MNE"):
        content[name] |= {"lr_mul": 0.1, "estimate_w": False}
        del content[name]["state_dict"]["w_ema"]
    content["MN_optimizer"]["param_groups"][0]["params"].pop()
    content["D"]["mbstd_group_size"] = 8
    checkpoint = read_lukau2357(folder, content)
    assert checkpoint is not None
    config = checkpoint.config
    assert (config.tanh, config.fir_filter, config.mapping_rate) == (True, (1.0, 2.0, 1.0), 0.1)
    assert (config.mean_style, config.deviation_group) == ("samples", 8)
    assert missing_and_misshapen(checkpoint) == []


@pytest.mark.parametrize("program", ["rosinality", "lukau2357"])
def test_moments_follow_their_parameters(program: str, tmp_path: Path) -> None:
    """Adam counts parameters in the order of the original program's modules: filters and mean style included there."""
    if program == "rosinality":
        content = load(TRAINING)
        pairs = [(content["g"], content["g_optim"]), (content["d"], content["d_optim"])]
        skipped = ("kernel", "noise_0", "noise_1", "noise_2", "noise_3", "noise_4", "noise_5", "noise_6")
    else:
        folder = lukau2357_model(tmp_path / "model") / "checkpoint_2"
        content = lukau2357_content(folder)
        pairs = [(content[name]["state_dict"], content[f"{name}_optimizer"]) for name in ("MN", "G", "D")]
        skipped = ()
    for state, optimizer in pairs:
        trained = [value for name, value in state.items() if not name.endswith(skipped)]
        assert len(trained) == len(optimizer["param_groups"][0]["params"])
        optimizer["state"] = {
            number: {"step": torch.tensor(7.0), "exp_avg": 2 * value, "exp_avg_sq": value.square()}
            for number, value in enumerate(trained)
        }
    checkpoint = read_official(TRAINING if program == "rosinality" else folder, content, load)
    assert checkpoint is not None
    assert checkpoint.networks is not None
    assert checkpoint.optimizers is not None
    for name, module in empty_networks(checkpoint.config, training=True).items():
        if name == "path_length":
            continue
        for number, (key, parameter) in enumerate(module.named_parameters()):
            moments = checkpoint.optimizers[name]["state"][number]
            assert moments["exp_avg"].shape == parameter.shape
            assert torch.equal(moments["exp_avg"], 2 * checkpoint.networks[name][key])
            assert float(moments["step"]) == 7


def test_optimisers_of_other_networks_are_left_out_with_a_line(tmp_path: Path) -> None:
    content = load(TRAINING)
    content["g_optim"]["param_groups"][0]["params"].pop()
    folder = lukau2357_model(tmp_path / "model") / "checkpoint_2"
    parts = lukau2357_content(folder)
    parts["D_optimizer"]["param_groups"] = None
    other = load(TRAINING)
    wrong = {"step": torch.tensor(1.0), "exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3)}
    other["d_optim"]["state"] = {0: wrong}
    for path, found in ((TRAINING, content), (TRAINING, other), (folder, parts)):
        checkpoint = read_official(path, found, load)
        assert checkpoint is not None
        assert checkpoint.optimizers is None
        assert "the optimizers do not match the networks, so no run can resume from it" in (checkpoint.note or "")


def test_half_a_generator_is_refused_with_what_it_lacks() -> None:
    content = load(TRAINING)
    del content["g_ema"]["style.1.weight"], content["g"]["style.1.weight"]
    with pytest.raises(CheckpointError, match=r"lacks parts of them \(linears.0.weight\)"):
        read_official(TRAINING, content, load)


def test_near_misses_are_named(tmp_path: Path) -> None:
    part = describe_foreign(load(LUKAU2357 / "checkpoint_2/GE.pth"))
    assert part is not None
    assert part.startswith("is one network of a StyleGAN2 checkpoint (give its folder")
    alone = describe_foreign(load(TRAINING)["g"])
    assert alone is not None
    assert "of a StyleGAN2 generator alone" in alone
    assert describe_foreign({"g_ema": {"layer": torch.zeros(1)}}) is not None
    assert describe_foreign({"generator": {"from_rgb.bias": torch.zeros(1)}}) is None
    assert read_official(tmp_path, {"a": 1}, load) is None
    assert read_official(tmp_path, [1], load) is None


def test_a_pickle_of_nvlabs_is_recognised_by_its_bytes() -> None:
    for protocol in (2, 4):
        name = b"ctorch_utils.persistence\n" if protocol == 2 else b"\x8c\x17torch_utils.persistence"
        content = pickle.dumps({"G": 1}, protocol)[:-1] + name
        assert [mark for mark in UNSAFE_FILES if mark in content] == [b"torch_utils.persistence"]


def test_settings_that_are_no_settings_are_left_aside(tmp_path: Path) -> None:
    folder = lukau2357_model(tmp_path / "model") / "checkpoint_2"
    for text in ("[]", "{", json.dumps({"g_steps": "two"})):
        (folder / ".metadata.json").write_text(text)
        checkpoint = read_lukau2357(folder, lukau2357_content(folder))
        assert checkpoint is not None
        assert checkpoint.step == 2  # the folder's name says so


def test_a_file_that_claims_a_huge_image_is_refused_before_its_noise_is_drawn(tmp_path: Path) -> None:
    """Thirty tiny colour layers would mean images of 2**31 pixels a side."""
    state = rosinality_generator([1] * 3, latent=2, depth=1)
    for number in range(2, 30):
        state |= {
            name.replace("to_rgbs.1.", f"to_rgbs.{number}."): value
            for name, value in state.items() if name.startswith("to_rgbs.1.")
        }  # fmt: skip
    with pytest.raises(CheckpointError, match="give at most 4096"):
        read_rosinality(tmp_path / "huge.pt", {"g_ema": state, "latent_avg": torch.zeros(2)})
    content = lukau2357_content(lukau2357_model(tmp_path / "model") / "checkpoint_2")
    for name in ("G", "GE"):
        generator = content[name]["state_dict"]
        for number in range(3, 30):
            generator |= {
                key.replace("blocks.2.", f"blocks.{number}."): value
                for key, value in generator.items() if key.startswith("blocks.2.")
            }  # fmt: skip
    del content["D"]
    with pytest.raises(CheckpointError, match="give at most 4096"):
        read_lukau2357(tmp_path / "model", content)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("MN", {"lr_mul": "fast"}),
        ("G", {"fir_filter": "1331"}),
        ("G", {"fir_filter": [1, None, 1]}),
        ("D", {"mbstd_group_size": [4]}),
        ("MN", {"lr_mul": -1}),
    ],
)
def test_settings_of_a_wrong_kind_are_refused_in_a_sentence(tmp_path: Path, part: str, change: dict[str, Any]) -> None:
    folder = lukau2357_model(tmp_path / "model") / "checkpoint_2"
    content = lukau2357_content(folder)
    content[part] |= change
    with pytest.raises(CheckpointError, match="model"):
        read_lukau2357(folder, content)


def test_parts_of_odd_shapes_are_refused_in_a_sentence(tmp_path: Path) -> None:
    content = load(TRAINING)
    content["g_ema"]["style.1.weight"] = torch.zeros(())
    content["g"]["style.1.weight"] = torch.zeros(())
    with pytest.raises(CheckpointError, match="lacks parts of them"):
        read_official(TRAINING, content, load)
    folder = lukau2357_model(tmp_path / "model") / "checkpoint_2"
    parts = lukau2357_content(folder)
    parts["G_plr"] = {"a": torch.zeros(3)}
    checkpoint = read_lukau2357(folder, parts)
    assert checkpoint is not None
    assert checkpoint.networks is not None
    assert float(checkpoint.networks["path_length"]["mean"]) == 0
