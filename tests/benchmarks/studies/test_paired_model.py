"""The stand-in for a trained model of full size: what its pairs are, and that it learns from them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from click.testing import CliRunner

from starcast.benchmarks.studies import paired_model
from starcast.benchmarks.studies.paired_model import PairedOptions, Pairs, teach
from starcast.train.checkpoint.file import read_checkpoint
from starcast.train.families.stargan_v2.networks import StarGANv2Config


@pytest.fixture(autouse=True)
def small(monkeypatch):
    config = StarGANv2Config(
        image_size=32, domains=3, style_dim=8, latent_dim=4, mapping_width=16, channel_base=256, max_channels=16
    )
    monkeypatch.setattr(paired_model, "CONFIG", config)
    creatures = dataclasses.replace(paired_model.CREATURES, image_size=32, train_images=4, val_images=1)
    monkeypatch.setattr(paired_model, "CREATURES", creatures)
    return config


def test_a_translation_keeps_the_sources_backdrop_and_takes_the_references_coat():
    pairs = [Pairs(40, seed=0)[number] for number in range(40)]
    for pair in pairs:
        assert torch.equal(pair.source[:, 0, 0], pair.translation[:, 0, 0])
        assert pair.coat // 4 == pair.domain
    by_coat: dict[int, set[float]] = {}
    for pair in pairs:  # the pose decides the backdrop, and a coat is seen in several
        by_coat.setdefault(pair.coat, set()).add(float(pair.translation[0, 0, 0]))
    assert max(map(len, by_coat.values())) > 1


def test_a_pair_is_a_function_of_its_number_and_the_seed():
    one, again, other = Pairs(9, seed=1)[5], Pairs(9, seed=1)[5], Pairs(9, seed=2)[5]
    assert torch.equal(one.source, again.source)
    assert not torch.equal(one.source, other.source)


def test_teaching_lowers_the_loss():
    losses: list[float] = []
    networks = teach(PairedOptions(steps=100), losses.append)
    assert len(losses) == 100
    assert sum(losses[-20:]) < 0.85 * sum(losses[:20])
    assert networks.discriminator is None


def test_the_command_leaves_the_drawings_and_a_checkpoint_that_knows_them(tmp_path, small):
    done = CliRunner().invoke(paired_model.paired_model, [str(tmp_path / "paired"), "--steps", "1"])
    assert done.exit_code == 0, done.output
    checkpoint = read_checkpoint(tmp_path / "paired" / "model.pt")
    assert checkpoint.config == small
    assert checkpoint.domain_names == ("checked", "spotted", "striped")
    assert checkpoint.dataset is not None
    assert (tmp_path / "paired" / "data" / "checked" / "val" / "00000.png").is_file()
    assert checkpoint.dataset["path"] == str(tmp_path / "paired" / "data")
