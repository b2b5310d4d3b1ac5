"""Official files load at the first try, whatever their sizes, with and without the discriminator beside them."""

from __future__ import annotations

import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from starcast.errors import CheckpointError
from starcast.train.checkpoint.file import read_checkpoint
from starcast.train.families.stargan_v1.networks import (
    Discriminator,
    Generator,
    StarGANv1Config,
    build_networks,
)
from starcast.train.families.stargan_v1.official import infer_config

LAYERS = st.integers(1, 6)
CONFIGS = LAYERS.flatmap(
    lambda layers: st.builds(
        StarGANv1Config,
        image_size=st.integers(max(1, 8 >> layers), 8).map(lambda kernel: kernel << layers).filter(
            lambda side: side % 4 == 0 and side >= 8
        ),
        generator_width=st.integers(1, 20), discriminator_width=st.integers(1, 9),
        residual_blocks=st.integers(0, 9), discriminator_layers=st.just(layers),
        attributes=st.integers(1, 40), classes=st.just(0),
    )
)  # fmt: skip
TINY = StarGANv1Config(
    image_size=32, generator_width=4, discriminator_width=3, residual_blocks=2, discriminator_layers=3,
    attributes=3, classes=0,
)  # fmt: skip
BUFFERS = {"running_mean": torch.zeros(4), "running_var": torch.ones(4), "num_batches_tracked": torch.tensor(7)}


def write(folder, config=TINY, *, generator="200000-G.ckpt", discriminator="200000-D.ckpt", prefix=""):
    """Files as the original writes them, with running statistics; returns the generator's."""
    states = build_networks(config, seed=3).state_dicts()
    states["generator"] |= {f"main.1.{name}": value for name, value in BUFFERS.items()}
    for name, network in ((generator, "generator"), (discriminator, "discriminator")):
        if name is not None:
            torch.save({f"{prefix}{key}": value for key, value in states[network].items()}, folder / name)
    return folder / generator


@settings(max_examples=60, deadline=None)
@given(CONFIGS)
def test_the_configuration_comes_back_from_the_shapes(config):
    with torch.device("meta"):
        states = {"generator": Generator(config).state_dict(), "discriminator": Discriminator(config).state_dict()}
    assert infer_config(states, "a file") == config
    del states["discriminator"]
    alone = infer_config(states, "a file")
    for fact in ("generator_width", "residual_blocks", "attributes", "label_size"):
        assert getattr(alone, fact) == getattr(config, fact)
    assert alone.image_size == 128  # the official size: a generator alone does not say


def test_both_files_of_a_step_are_read(official_file):
    checkpoint = read_checkpoint(official_file)
    assert (checkpoint.layout, checkpoint.family, checkpoint.step) == ("official", "stargan_v1", 200_000)
    assert checkpoint.domain_names == ("0", "1", "2", "3", "4")
    assert set(checkpoint.networks) == {"generator", "discriminator"}
    assert set(checkpoint.averaged) == {"generator"}
    assert checkpoint.note is None
    assert checkpoint.config.image_size == 64


def test_a_generator_alone_is_read_and_says_what_is_assumed(official_file, tmp_path):
    shutil.copy(official_file, tmp_path / "200000-G.ckpt")
    checkpoint = read_checkpoint(tmp_path / "200000-G.ckpt")
    assert checkpoint.networks is None
    assert "no discriminator (-D.ckpt) beside it" in checkpoint.note
    assert "128x128" in checkpoint.note


@pytest.mark.parametrize(
    ("generator", "discriminator", "step"),
    [
        ("10000-G.ckpt", "10000-D.ckpt", 10_000),
        ("celeba_256_200000-G.ckpt", "celeba_256_200000-D.ckpt", 200_000),
        ("hair-G.pth", "hair-D.pth", None),
        ("G.ckpt", "D.ckpt", None),
    ],
)
def test_renamed_files_are_found(tmp_path, generator, discriminator, step):
    checkpoint = read_checkpoint(write(tmp_path, generator=generator, discriminator=discriminator))
    assert (checkpoint.step, checkpoint.config) == (step, TINY)
    assert checkpoint.networks is not None


def test_files_of_parallel_training_are_read(tmp_path):
    assert read_checkpoint(write(tmp_path, prefix="module.")).config == TINY


def test_running_statistics_are_dropped(tmp_path):
    checkpoint = read_checkpoint(write(tmp_path))
    assert not [name for name in checkpoint.averaged["generator"] if "running" in name or "tracked" in name]


def test_two_data_sets_have_classes_and_two_bits_beside_the_official_attributes(tmp_path):
    config = StarGANv1Config(
        image_size=16, generator_width=2, discriminator_width=2, residual_blocks=0, discriminator_layers=2,
        attributes=5, classes=8,
    )  # fmt: skip
    checkpoint = read_checkpoint(write(tmp_path, config))
    assert (checkpoint.config, len(checkpoint.domain_names), checkpoint.config.label_size) == (config, 13, 15)


def test_files_of_two_runs_are_refused(tmp_path):
    path = write(tmp_path, discriminator=None)
    other = StarGANv1Config(**{**vars(TINY), "attributes": 7})
    write(tmp_path, other, generator="other-G.ckpt", discriminator="200000-D.ckpt")
    with pytest.raises(CheckpointError, match="takes 3 labels, and the discriminator beside it knows 7: give the two"):
        read_checkpoint(path)


def test_a_discriminator_that_is_none_is_named(tmp_path):
    path = write(tmp_path)
    (tmp_path / "200000-D.ckpt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="200000-D.ckpt is empty"):
        read_checkpoint(path)
    shutil.copy(path, tmp_path / "200000-D.ckpt")
    with pytest.raises(CheckpointError, match="200000-D.ckpt is no StarGAN v1 discriminator"):
        read_checkpoint(path)


def test_a_discriminator_alone_is_described(tmp_path):
    write(tmp_path)
    with pytest.raises(CheckpointError, match=r"is a StarGAN v1 discriminator \(the \*-G.ckpt of the same step"):
        read_checkpoint(tmp_path / "200000-D.ckpt")


def test_what_is_missing_is_named(tmp_path):
    path = write(tmp_path)
    state = torch.load(path, weights_only=True)
    del state["main.10.main.3.weight"]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match="lacks generator.main.10.main.3.weight"):
        read_checkpoint(path)
