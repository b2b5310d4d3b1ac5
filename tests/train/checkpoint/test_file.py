"""Training files: ours and the official ones read as they were written, everything else refused in one sentence."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import pickle
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from starcast.errors import CheckpointError
from starcast.train.checkpoint.file import averaged_networks, read_checkpoint, write_checkpoint
from starcast.train.families.stargan_v2.networks import Networks, StarGANv2Config, averaged_copy, build_networks
from starcast.train.families.stargan_v2.options import StarGANv2Optimizer
from starcast.train.families.stargan_v2.step import build_optimizers

SHARED = Path(__file__).resolve().parents[4] / "shared" / "oracles"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the foreign programs' files are not beside the checkout")

TINY = StarGANv2Config(
    image_size=32, domains=2, style_dim=4, latent_dim=3, mapping_width=6, channel_base=64, max_channels=5
)
AVERAGED = ("generator", "mapping_network", "style_encoder")


def official(config: StarGANv2Config = TINY, *, seed: int = 1, ema: bool = True) -> dict[str, dict[str, Tensor]]:
    """What the original saves: state_dicts by name, without a discriminator in an averaged file."""
    networks = build_networks(config, seed)
    return (averaged_copy(networks) if ema else networks).state_dicts()


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """A function (content, name="100000_nets_ema.ckpt") -> the path of a file that torch saved it to."""

    def save(content: object, name: str = "100000_nets_ema.ckpt", **how: Any) -> Path:
        torch.save(content, tmp_path / name, **how)
        return tmp_path / name

    return save


def refusal(path: Path) -> str:
    """The sentence that the file is refused with: one line, which names the file and a way on."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    sentence = str(caught.value)
    assert sentence.startswith(str(path))
    assert "\n" not in sentence
    assert ": " in sentence.removeprefix(str(path))
    return sentence.removeprefix(str(path)).strip()


def assert_same(found: Any, wanted: Any) -> None:
    """Equal to the last bit, through dictionaries and lists."""
    if isinstance(wanted, Tensor):
        assert found.dtype == wanted.dtype
        assert torch.equal(found, wanted)
    elif isinstance(wanted, Mapping):
        assert list(found) == list(wanted)
        for key, value in wanted.items():
            assert_same(found[key], value)
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other)
    else:
        assert found == wanted


# ours


def moved_optimizers(networks: Networks) -> dict[str, torch.optim.Optimizer]:
    """Optimisers that have made a step, so that they hold something."""
    optimizers = build_optimizers(networks, StarGANv2Optimizer())
    for name, module in networks.items():
        for parameter in module.parameters():
            parameter.grad = torch.full_like(parameter, 0.5)
        optimizers[name].step()
    return optimizers


def test_a_full_checkpoint_comes_back_as_it_was(tmp_path):
    networks = build_networks(TINY, seed=1)
    averaged = averaged_copy(networks)
    optimizers = moved_optimizers(networks)
    options, dataset = {"steps": 10, "betas": [0.0, 0.99]}, {"name": "pets", "path": "data/pets"}
    path = tmp_path / "new" / "step-7.pt"
    write_checkpoint(
        path, config=TINY, domain_names=("cat", "dog"), step=7, averaged=averaged, networks=networks,
        optimizers=optimizers, options=options, dataset=dataset,
    )  # fmt: skip
    found = read_checkpoint(path)
    assert (found.path, found.layout, found.config, found.step, found.note) == (path, "starcast", TINY, 7, None)
    assert found.domain_names == ("cat", "dog")
    assert (found.options, found.dataset) == (options, dataset)
    assert_same(found.averaged, averaged.state_dicts())
    assert_same(found.networks, networks.state_dicts())
    assert_same(found.optimizers, {name: optimizer.state_dict() for name, optimizer in optimizers.items()})


def test_a_snapshot_holds_the_average_alone(tmp_path):
    averaged = averaged_copy(build_networks(TINY, seed=1))
    path = tmp_path / "snapshot.pt"
    write_checkpoint(path, config=TINY, domain_names=("cat", "dog"), step=7, averaged=averaged)
    found = read_checkpoint(path)
    assert (found.networks, found.optimizers, found.options, found.dataset) == (None, None, None, None)
    assert_same(found.averaged, averaged.state_dicts())


def test_averaged_networks_are_ready_for_use(saved):
    networks = averaged_networks(read_checkpoint(saved(official())))
    assert_same(networks.state_dicts(), official())
    assert networks.discriminator is None
    for _, module in networks.items():
        assert not module.training
        assert all(not p.requires_grad and p.dtype == torch.float32 for p in module.parameters())


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_stops_midway_leaves_the_old_checkpoint(tmp_path, monkeypatch, failure):
    path = tmp_path / "step-7.pt"
    given: dict[str, Any] = {"config": TINY, "domain_names": ("cat", "dog")}
    write_checkpoint(path, step=7, averaged=averaged_copy(build_networks(TINY, seed=1)), **given)
    before = path.read_bytes()

    def stops(content: object, file: Any) -> None:
        file.write(b"half of a checkpoint")
        raise failure

    monkeypatch.setattr(torch, "save", stops)
    with pytest.raises(type(failure)):
        write_checkpoint(path, step=8, averaged=averaged_copy(build_networks(TINY, seed=2)), **given)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["step-7.pt"]


def ours(**changes: Any) -> dict[str, Any]:
    return {
        "format": 1, "family": "stargan_v2", "config": dataclasses.asdict(TINY), "domain_names": ["cat", "dog"],
        "step": 7, "averaged": official(), "options": None, "dataset": None, **changes,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "has format 2, newer than this version reads (1): update starcast"),
        ({"family": "stargan_v3"}, "belongs to family 'stargan_v3', which this version does not know: update starcast"),
        ({"config": {"image_size": 32}}, "is damaged"),
        ({"config": {**dataclasses.asdict(TINY), "image_size": 33}}, "--image-size is 33: give a power of two"),
        ({"config": {**dataclasses.asdict(TINY), "image_size": "32"}}, "is damaged"),
        ({"config": None}, "is damaged"),
        ({"averaged": {}}, "is damaged"),
        ({"averaged": {**official(), "generator": {"from_rgb.weight": "no tensor"}}}, "is damaged"),
        ({"networks": [1, 2]}, "is damaged"),
        ({"networks": {"generator": 3}}, "is damaged"),
        ({"domain_names": None}, "is damaged"),
    ],
    ids=str,
)
def test_a_checkpoint_of_ours_that_cannot_be_used_says_why(saved, changes, words):
    assert words in refusal(saved(ours(**changes), "step-7.pt"))


# official files

sizes = st.sampled_from([32, 64, 128, 256])
small = st.integers(1, 6)


@settings(max_examples=25, deadline=None)
@given(
    size=sizes, first=st.integers(1, 4), widest=st.integers(1, 9), domains=st.integers(1, 5), style=small,
    latent=small, mapping=small, wrapped=st.booleans(), half=st.booleans(),
)  # fmt: skip
def test_the_configuration_is_found_in_the_shapes(size, first, widest, domains, style, latent, mapping, wrapped, half):
    config = StarGANv2Config(
        image_size=size, domains=domains, style_dim=style, latent_dim=latent, mapping_width=mapping,
        channel_base=first * size, max_channels=widest,
    )  # fmt: skip
    states = {
        name: {("module." if wrapped else "") + key: value.half() if half else value for key, value in state.items()}
        for name, state in official(config).items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "000010_nets_ema.ckpt"
        torch.save(states, path)
        found = read_checkpoint(path)
    widths = config.widths(size.bit_length() - 3)  # a limit that is never reached cannot be found
    assert found.config == dataclasses.replace(config, max_channels=widths[-1])
    assert found.domain_names == tuple(str(number) for number in range(domains))
    averaged_networks(found)


def test_an_official_average_is_read_without_a_remark(saved):
    found = read_checkpoint(saved(official()))
    assert (found.layout, found.config, found.step, found.note) == ("official", TINY, 100_000, None)
    assert (found.networks, found.optimizers, found.options, found.dataset) == (None, None, None, None)
    assert_same(found.averaged, official())


def test_an_official_file_under_another_name_has_no_step(saved):
    assert read_checkpoint(saved(official(), "afhq.ckpt")).step is None


def test_official_networks_that_are_not_averaged_are_read_with_a_note(saved):
    states = official(ema=False)
    found = read_checkpoint(saved(states, "000500_nets.ckpt"))
    assert "not averaged; the *_nets_ema.ckpt beside it gives smoother results" in found.note
    assert found.step == 500
    assert_same(found.networks, states)
    assert_same(found.averaged, {name: states[name] for name in AVERAGED})


def test_names_that_data_parallel_prefixed_are_the_same_networks(saved):
    states = official(ema=False)
    wrapped = {name: {f"module.{key}": value for key, value in state.items()} for name, state in states.items()}
    assert_same(read_checkpoint(saved(wrapped)).networks, states)


@pytest.mark.parametrize(
    "wrap",
    [
        "_orig_mod.{}", "module.module.{}", "_orig_mod.module.{}", "module._orig_mod.module.{}", "ema_model.{}",
        "_fsdp_wrapped_module.{}", "_forward_module._orig_mod.{}",
    ],
)  # fmt: skip
def test_names_that_wrappers_prefixed_in_any_order_are_the_same_networks(saved, wrap):
    states = official()
    wrapped = {name: {wrap.format(key): value for key, value in state.items()} for name, state in states.items()}
    assert_same(read_checkpoint(saved(wrapped)).averaged, states)


def test_a_part_that_was_compiled_or_recomputed_alone_is_the_same_network(saved):
    states = official()
    wrapped = {
        name: {key.replace(".", "._orig_mod._checkpoint_wrapped_module.", 1): value for key, value in state.items()}
        for name, state in states.items()
    }
    assert_same(read_checkpoint(saved(wrapped)).averaged, states)


def test_of_an_average_beside_its_model_the_average_is_read(saved):
    states = official()
    both = {
        name: {
            **{f"ema_model.{key}": value for key, value in state.items()},
            **{f"online_model.{key}": torch.full_like(value, 7) for key, value in state.items()},
            "step": torch.tensor(9),
        }
        for name, state in states.items()
    }
    assert_same(read_checkpoint(saved(both)).averaged, states)


def test_weights_stored_in_half_precision_come_back_in_float32(saved):
    halves = {name: {key: value.half() for key, value in state.items()} for name, state in official().items()}
    found = read_checkpoint(saved(halves))
    assert_same(
        found.averaged, {name: {key: value.float() for key, value in state.items()} for name, state in halves.items()}
    )


def test_a_landmark_network_beside_the_three_is_passed_over(saved):
    with_fan = {**official(), "fan": {"conv1.weight": torch.ones(2, 3)}}
    assert_same(read_checkpoint(saved(with_fan)).averaged, official())


def test_a_surplus_buffer_is_left_out(saved):
    states = official()
    states["generator"]["steps_seen"] = torch.tensor(3)
    assert_same(read_checkpoint(saved(states)).averaged, official())


def test_the_order_of_names_does_not_matter(saved):
    turned = {name: dict(reversed(state.items())) for name, state in reversed(official().items())}
    found = read_checkpoint(saved(turned))
    assert found.config == TINY
    assert_same(averaged_networks(found).state_dicts(), official())


def test_files_in_the_form_of_old_torch_are_read(saved):
    """The form of torch 1.5 and before, in which the published files are stored."""
    found = read_checkpoint(saved(official(), _use_new_zipfile_serialization=False))
    assert_same(found.averaged, official())


# refused


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("network", AVERAGED)
def test_a_weight_that_is_not_finite_is_refused_by_name(saved, network, value):
    states = official()
    name = list(states[network])[-1]
    states[network][name].flatten()[-1] = value
    assert refusal(saved(states)) == f"has {network}.{name} with values that are not finite: give an earlier checkpoint"


def test_a_missing_tensor_is_named(saved):
    states = official()
    del states["generator"]["decode.1.norm1.fc.bias"]
    assert refusal(saved(states)) == "lacks generator.decode.1.norm1.fc.bias: give a complete checkpoint"


def test_a_tensor_that_the_configuration_is_read_from_is_named_when_missing(saved):
    states = official()
    del states["mapping_network"]["shared.0.weight"]
    assert refusal(saved(states)) == (
        "names StarGAN v2's networks but lacks parts of them (shared.0.weight): give a whole *_nets_ema.ckpt"
    )


def test_a_tensor_of_another_shape_is_named_with_both(saved):
    states = official()
    states["generator"]["to_rgb.2.bias"] = torch.zeros(4)
    assert refusal(saved(states)).startswith("has generator.to_rgb.2.bias of shape (4,) instead of (3,): ")


GIVE_ONE = "give a starcast checkpoint, or an official *_nets_ema.ckpt or *-G.ckpt"


@pytest.mark.parametrize(
    ("content", "looks"),
    [
        (b"", "is empty"),
        (b"dear diary, today\n" * 20, "is a text file"),
        (b"<!DOCTYPE html><html>not found</html>", "is a web page or XML, perhaps from a failed download"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "is a Git LFS pointer (`git lfs pull` fetches the real file)",
        ),
        (b"\x08\x0a\x12\x07pytorch\x1a\x052.0.0:\x10", "is an ONNX graph"),
        (b"\xff\xd8\xff\xe0" + bytes(60), "is a JPEG image"),
        (b"\x1f\x8b\x08" + bytes(60), "is a gzip archive"),
        (b"\x89HDF\r\n\x1a\n" + bytes(60), "is an HDF5 file (Keras or TensorFlow)"),
        (b'H\0\0\0\0\0\0\0{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', "is a safetensors file"),
        (bytes(range(255, 127, -1)) * 4, "is not a file that torch can read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_torch_cannot_read_is_called_what_it_looks_like(tmp_path, content, looks):
    path = tmp_path / "100000_nets_ema.ckpt"
    path.write_bytes(content)
    sentence = refusal(path)
    assert sentence.startswith(looks)
    assert sentence.endswith(GIVE_ONE)


def test_an_image_and_an_archive_are_called_by_name(tmp_path):
    image, archive = tmp_path / "cat.png", tmp_path / "cats.zip"
    Image.new("RGB", (8, 8)).save(image)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("cat.txt", "meow")
    assert refusal(image) == f"is a PNG image: {GIVE_ONE}"
    assert refusal(archive) == f"is a zip archive: {GIVE_ONE}"


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("old_form", [True, False])
def test_a_truncated_checkpoint_is_called_truncated_or_damaged(saved, share, old_form):
    path = saved(official(), _use_new_zipfile_serialization=not old_form)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    looks = "is a pickle that is damaged or holds no tensors" if old_form else "is truncated"
    assert refusal(path) == f"{looks}: {GIVE_ONE}"


@pytest.mark.parametrize(
    ("content", "looks"),
    [
        (torch.ones(3), "holds a Tensor"),
        ([1, 2], "holds a list"),
        ({}, "holds an empty table"),
        ({"epoch": 3, "model": {"w": torch.ones(1)}}, "holds a table of epoch, model"),
        ({"generator": official()["generator"]}, "holds a generator alone, without mapping network"),
        (official()["generator"], "is the state_dict of a generator alone, without mapping network"),
        ({"a.weight": torch.ones(1), "b.weight": torch.ones(1)}, "is a state_dict of 2 tensors, a.weight, b.weight"),
        ({1: torch.ones(1)}, "is a state_dict of 1 tensors, 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_something_else_that_torch_can_read_is_called_what_it_looks_like(saved, content, looks):
    sentence = refusal(saved(content))
    assert sentence.startswith(looks)
    assert sentence.endswith(f"no StarGAN v2 or StarGAN v1 or StyleGAN2 checkpoint: {GIVE_ONE}")


def test_states_of_optimisers_point_to_the_file_beside_them(saved):
    networks = build_networks(TINY, seed=1)
    states = {name: optimizer.state_dict() for name, optimizer in moved_optimizers(networks).items()}
    sentence = refusal(saved(states, "100000_optims.ckpt"))
    assert sentence.startswith("holds the state of optimisers (an *_optims.ckpt; the *_nets_ema.ckpt is beside it)")
    assert "of an optimiser," in refusal(saved(states["generator"], "optimizer.pt"))


@needs_shared
@pytest.mark.parametrize(
    ("file", "looks"),
    [
        ("stargan_v2_train_step/000001_optims.ckpt", "holds the state of optimisers"),
        ("stargan_v2_hpf1/100000_nets_ema.ckpt", "holds a generator alone"),
        ("stargan_v1/200000-D.ckpt", "is a StarGAN v1 discriminator"),
        ("stargan_v2_hpf0/inputs.npz", "is a zip archive"),
        ("stargan_v2_hpf0/README.md", "is a text file"),
    ],
)
def test_files_of_other_programs_are_called_by_name(file, looks):
    assert refusal(SHARED / file).startswith(looks)


@needs_shared
def test_no_file_of_the_other_stylegan2_is_taken_for_a_checkpoint():
    files = [file for file in (SHARED / "stylegan2_lukau").rglob("*") if file.is_file()]
    assert len(files) > 8
    for file in files:
        refusal(file)


def test_a_missing_file_and_a_folder_are_called_so(tmp_path):
    assert refusal(tmp_path) == f"is a folder: {GIVE_ONE}"
    assert refusal(tmp_path / "nothing.ckpt") == f"does not exist: {GIVE_ONE}"


class Trap:
    """Makes a file when a careless program unpickles it."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["pickle", "old torch", "torch"])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, form):
    sprung, path = tmp_path / "sprung", tmp_path / "100000_nets_ema.ckpt"
    content = {**official(), "fan": Trap(sprung)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(Trap(sprung)))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "torch")
    assert "holds Python objects, and reading them would run code, which is unsafe" in refusal(path)
    assert not sprung.exists()


SOUND = {}


def sound(old_form: bool) -> bytes:
    """A whole official file, made once."""
    if old_form not in SOUND:
        with tempfile.TemporaryDirectory() as folder:
            torch.save(official(), Path(folder) / "whole", _use_new_zipfile_serialization=not old_form)
            SOUND[old_form] = (Path(folder) / "whole").read_bytes()
    return SOUND[old_form]


@settings(max_examples=60, deadline=None)
@example(True, [(0.625, 0)])  # a storage under another name, which torch asserts
@example(False, [(0.90625, 128)])  # a name within the archive that is no text
@given(st.booleans(), st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1))
def test_a_file_with_damaged_bytes_is_read_or_refused_but_never_crashes(old_form, damage):
    content = bytearray(sound(old_form))
    reach = 2000 if old_form else len(content)  # where an old file says what is in it; the rest is numbers
    for place, value in damage:
        content[int(place * reach)] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "100000_nets_ema.ckpt"
        path.write_bytes(content)
        with contextlib.suppress(CheckpointError):
            read_checkpoint(path)


def test_an_archive_that_claims_more_disks_is_called_damaged(saved):
    path = saved(official())
    content = bytearray(path.read_bytes())
    locator = content.rindex(b"PK\x06\x07")  # torch writes 64-bit archives: their locator counts the disks
    content[locator + 16] = 2
    path.write_bytes(content)
    assert refusal(path) == f"is damaged: {GIVE_ONE}"
