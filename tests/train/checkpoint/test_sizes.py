"""Sizes that a file claims are checked before they are allocated."""

from __future__ import annotations

import zipfile

import pytest
import torch

from starcast.errors import CheckpointError
from starcast.train.checkpoint.file import read_checkpoint
from starcast.train.families.stargan_v2.networks import StarGANv2Config, random_networks

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
