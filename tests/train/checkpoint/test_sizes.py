"""Sizes that a file claims are checked before they are allocated."""

from __future__ import annotations

import contextlib
import copy
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from starcast.errors import CheckpointError, OptionError, StarcastError
from starcast.options import as_json, replace_options
from starcast.train.checkpoint.file import read_checkpoint
from starcast.train.families.stargan_v2.networks import (
    StarGANv2Config,
    averaged_copy,
    build_networks,
    random_networks,
)
from starcast.train.families.stargan_v2.options import StarGANv2Optimizer, StarGANv2Options
from starcast.train.families.stargan_v2.step import build_optimizers
from starcast.train.state import State, fresh_state, options_of, restore_state

TINY = StarGANv2Config(
    image_size=32, domains=2, style_dim=4, latent_dim=3, mapping_width=8, channel_base=64, max_channels=8
)


def test_an_archive_that_claims_gigabytes_is_refused_at_its_table_of_contents(tmp_path):
    resource = pytest.importorskip("resource", reason="Windows does not tell the peak of memory")
    path = tmp_path / "100000_nets_ema.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"")
        with archive.open("archive/data/0", "w") as part:
            for _ in range(64):
                part.write(bytes(2**23))  # 512 MiB of zeros in half a MiB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=r"claims to hold 0\.5 GiB in a file of 0\.5 MiB"):
        read_checkpoint(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 2**17  # KiB: 128 MiB


@pytest.mark.parametrize(
    ("network", "name", "shape"),
    [
        ("mapping_network", "shared.0.weight", (2**31, 3)),
        ("mapping_network", "unshared.0.6.weight", (2**31, 8)),
        ("style_encoder", "unshared.0.weight", (2**31, 8)),
    ],
)
def test_a_tensor_that_claims_more_numbers_than_are_stored_is_refused(tmp_path, network, name, shape):
    states = {key: dict(state) for key, state in random_networks(TINY, 0).state_dicts().items()}
    assert name in states[network]
    states[network][name] = torch.zeros(1).expand(*shape)
    torch.save(states, tmp_path / "100000_nets_ema.ckpt")
    assert (tmp_path / "100000_nets_ema.ckpt").stat().st_size < 2**20
    with pytest.raises(CheckpointError, match=f"numbers for {network}.{name}, but stores fewer"):
        read_checkpoint(tmp_path / "100000_nets_ema.ckpt")


@pytest.mark.parametrize("field", ["image_size", "domains", "style_dim", "latent_dim", "mapping_width", "channel_base"])
def test_a_size_in_the_configuration_must_be_the_weights(tmp_path, field):
    content = {
        "format": 1,
        "family": "stargan_v2",
        "config": {**vars(TINY), field: 2**31},
        "domain_names": ["a", "b"],
        "step": 1,
        "averaged": random_networks(TINY, 0).state_dicts(),
        "options": None,
        "dataset": None,
    }
    torch.save(content, tmp_path / "step-000001.pt")
    with pytest.raises(CheckpointError, match="step-000001.pt is damaged"):
        read_checkpoint(tmp_path / "step-000001.pt")


def tiny_run(seed: int = 0) -> dict[str, Any]:
    """A full checkpoint's content after one update of every optimizer."""
    networks = build_networks(TINY, seed)
    optimizers = build_optimizers(networks, StarGANv2Optimizer())
    for _, module in networks.items():
        for parameter in module.parameters():
            parameter.grad = torch.ones_like(parameter)
    for optimizer in optimizers.values():
        optimizer.step()
    sizes = {name: value for name, value in vars(TINY).items() if name != "domains"}
    return {
        "format": 1, "family": "stargan_v2", "config": dict(vars(TINY)), "domain_names": ["a", "b"], "step": 1,
        "averaged": averaged_copy(networks).state_dicts(), "networks": networks.state_dicts(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
        "options": as_json(replace_options(StarGANv2Options(), **sizes)), "dataset": {"domains": ["a", "b"]},
    }  # fmt: skip


def restore(path: Path) -> State:
    checkpoint = read_checkpoint(path)
    return restore_state(checkpoint, options_of(checkpoint))


def test_a_whole_checkpoint_is_restored(tmp_path):
    torch.save(tiny_run(), tmp_path / "step-000001.pt")
    assert restore(tmp_path / "step-000001.pt").step == 1


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(1).expand(2**31, 64), torch.zeros(5), torch.empty(2**40, device="meta"),
        torch.zeros(1, dtype=torch.int64).expand(2**35), torch.zeros(2, 3, 3, 3).fill_(float("nan")),
        torch.zeros(2, 3, 3, 3).to_sparse(), torch.zeros(0),
    ],
    ids=["stretched", "other shape", "on no device", "whole numbers", "not finite", "sparse", "empty"],
)  # fmt: skip
def test_an_optimizers_state_has_the_shapes_of_its_parameters(tmp_path, value):
    content = tiny_run()
    assert content["optimizers"]["generator"]["state"][0]["exp_avg"].shape == (2, 3, 3, 3)
    content["optimizers"]["generator"]["state"][0]["exp_avg"] = value
    torch.save(content, tmp_path / "step-000001.pt")
    with pytest.raises(CheckpointError, match="step-000001.pt (has a state of the optimizer generator|claims)"):
        restore(tmp_path / "step-000001.pt")


@pytest.mark.parametrize(
    "state", [None, [1], {}, {"state": {}, "param_groups": [{"params": [0]}]}, {"state": 1, "param_groups": []}]
)
def test_an_optimizers_state_is_that_of_its_parameters(tmp_path, state):
    content = tiny_run()
    content["optimizers"]["generator"] = state
    torch.save(content, tmp_path / "step-000001.pt")
    with pytest.raises(CheckpointError, match="has a state of the optimizer generator that does not fit"):
        restore(tmp_path / "step-000001.pt")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("options", "latent_dim"), 2**31), (("options", "image_size"), 2**31), (("options", "max_channels"), 10**9),
        (("step",), 10**400), (("step",), True), (("domain_names",), ["a", "a"]), (("config", "max_channels"), 10**9),
        (("config", "mapping_width"), 2**62), (("optimizers", "generator", "state", 10**9), {}),
        (("optimizers", "generator", "state", 0), {"step": torch.tensor(1.0)}),
    ],
)  # fmt: skip
def test_numbers_that_contradict_the_weights_are_refused(tmp_path, place, value):
    content = tiny_run()
    *inner, last = place
    part = content
    for key in inner:
        part = part[key]
    part[last] = value
    torch.save(content, tmp_path / "step-000001.pt")
    with pytest.raises(CheckpointError, match="step-000001.pt"):
        restore(tmp_path / "step-000001.pt")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory this way")
def test_whatever_a_checkpoint_claims_2_gib_are_enough(tmp_path):
    """Random places of a checkpoint hold random values, and a process of 2 GiB reads it: a state or a sentence."""
    code = f"""if True:
        import resource, sys
        sys.path[:0] = [{str(Path(__file__).parent)!r}]
        import test_sizes
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2 * 2**30,) * 2)
        test_sizes.read_random_checkpoints()
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


HUGE = 10**5000  # more digits than Python shows
NUMBERS = st.sampled_from(
    [-1, 0, 1, 3, 33, 2**20, 2**31, 2**62, 2**64, HUGE, 1.5, float("inf"), True, None, "32", [], {}]
)
SHAPES = st.sampled_from([(1,), (0,), (2**31,), (2**20, 2**20), (3, 3)])
TENSORS = SHAPES.map(lambda shape: torch.zeros(1).expand(*shape))


def read_random_checkpoints() -> None:
    whole = tiny_run()
    places = [
        *((part, name) for part in ("config", "options") for name in whole[part]),
        *((name,) for name in whole),
        *(("optimizers", "generator", "state", 0, name) for name in ("step", "exp_avg", "exp_avg_sq")),
        *(("optimizers", name, part) for name in whole["optimizers"] for part in ("state", "param_groups")),
        *((part, "mapping_network", "unshared.0.6.weight") for part in ("networks", "averaged")),
    ]

    @settings(max_examples=12, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
    @given(st.sampled_from(places), NUMBERS | TENSORS)
    def read(place: tuple[Any, ...], value: Any) -> None:
        content = copy.deepcopy(whole)
        part = content
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = value
        path = Path("step-000001.pt").absolute()
        torch.save(content, path)
        with contextlib.suppress(StarcastError):
            restore(path)

    read()


@pytest.mark.parametrize(
    "sizes",
    [
        {"mapping_width": 2**31}, {"mapping_width": 2**62}, {"style_dim": 2**40},
        {"max_channels": 2**40, "channel_base": 2**40},
    ],
)  # fmt: skip
def test_sizes_that_no_machine_has_memory_for_are_one_sentence(sizes):
    with pytest.raises(OptionError, match=r"networks of these sizes.*: give smaller"):
        fresh_state(replace_options(StarGANv2Options(), image_size=32, **sizes), 2)
