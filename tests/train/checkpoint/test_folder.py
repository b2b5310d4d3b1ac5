"""The checkpoint that a folder stands for."""

from __future__ import annotations

import pytest

from starcast.errors import CheckpointError
from starcast.train.checkpoint.folder import choose_checkpoint, trained_beside


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("020000_nets.ckpt", "020000_nets_ema.ckpt", "020000_optims.ckpt"), "020000_nets_ema.ckpt"),
        (("100000_nets_ema.ckpt", "020000_nets_ema.ckpt", "1000000_nets_ema.ckpt"), "1000000_nets_ema.ckpt"),
        (("100000_nets_ema.ckpt", "200000_nets.ckpt"), "100000_nets_ema.ckpt"),
        (("100000_nets.ckpt", "200000_nets.ckpt"), "200000_nets.ckpt"),
        (("checkpoints/100000_nets_ema.ckpt", "samples/cycle.jpg"), "checkpoints/100000_nets_ema.ckpt"),
        (("checkpoints/afhq/100000_nets_ema.ckpt", "checkpoints/wing.ckpt"), "checkpoints/afhq/100000_nets_ema.ckpt"),
        (("afhq_100000_nets_ema.ckpt", "afhq_050000_nets_ema.ckpt"), "afhq_100000_nets_ema.ckpt"),
        (("nets_ema.ckpt", "nets.ckpt"), "nets_ema.ckpt"),
        (("generator.pt", "100000_optims.ckpt", "notes.txt"), "generator.pt"),
        (("000000.pt", "010000.pt", "550000.pt"), "550000.pt"),
        (("90000-G.ckpt", "90000-D.ckpt", "100000-G.ckpt", "100000-D.ckpt"), "100000-G.ckpt"),
        (("models/90000-G.ckpt", "models/90000-D.ckpt", "logs/events"), "models/90000-G.ckpt"),
        (("checkpoint_2/MN.pth", "checkpoint_2/G.pth", "checkpoint_10/MN.pth", "checkpoint_10/G.pth"), "checkpoint_10"),
        (("model/checkpoint_2/MN.pth", "model/checkpoint_2/G.pth", "data/a.jpg"), "model/checkpoint_2"),
        (("checkpoints/step-000010.pt", "checkpoints/step-000002.pt"), "checkpoints/step-000010.pt"),
        (("step-000010.pt", "step-000020.snapshot.pt"), "step-000020.snapshot.pt"),
        (("run/checkpoints/step-000010.pt", "photos/a.jpg"), "run/checkpoints/step-000010.pt"),
        (("100000_nets_ema.ckpt", ".hidden_nets_ema.ckpt", "200000_nets_ema.ckpt.part"), "100000_nets_ema.ckpt"),
    ],
)
def test_a_folder_stands_for_its_newest_checkpoint(tmp_path, names, chosen):
    files = choose_checkpoint(make(tmp_path, *names))
    assert files.path == tmp_path / chosen
    assert files.path.name in files.note


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (("afhq/100000_nets_ema.ckpt", "celeba_hq/100000_nets_ema.ckpt"), ("afhq/", "celeba_hq/")),
        (("afhq_nets_ema.ckpt", "celeba_hq_nets_ema.ckpt"), ("afhq_nets_ema.ckpt", "celeba_hq_nets_ema.ckpt")),
        (("a/checkpoints/step-000010.pt", "b/checkpoints/step-000010.pt"), ("a/", "b/")),
        (
            ("checkpoints/step-000010.pt", "100000_nets_ema.ckpt"),
            ("checkpoints/step-000010.pt", "100000_nets_ema.ckpt"),
        ),
        (("one.pt", "two.pth"), ("one.pt", "two.pth")),
    ],
)
def test_several_models_are_named_and_none_is_taken(tmp_path, names, named):
    with pytest.raises(CheckpointError, match="holds 2 models: give one of") as refused:
        choose_checkpoint(make(tmp_path, *names))
    assert all(str(tmp_path / name) in str(refused.value) for name in named)


def test_a_folder_without_checkpoints_says_what_to_give(tmp_path):
    with pytest.raises(CheckpointError, match="is an empty folder: give a checkpoint, a bundle or a run's folder"):
        choose_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="is a folder without checkpoints: give"):
        choose_checkpoint(make(tmp_path, "cat/1.jpg", "100000_optims.ckpt"))


def test_the_networks_as_trained_lie_beside_the_averaged_ones(tmp_path):
    make(tmp_path, "100000_nets.ckpt", "100000_nets_ema.ckpt", "200000_nets_ema.ckpt", "step-000001.pt")
    assert trained_beside(tmp_path / "100000_nets_ema.ckpt") == tmp_path / "100000_nets.ckpt"
    for name in ("200000_nets_ema.ckpt", "100000_nets.ckpt", "step-000001.pt"):
        assert trained_beside(tmp_path / name) is None


def test_a_file_stands_for_itself(tmp_path):
    files = choose_checkpoint(tmp_path / "100000_nets_ema.ckpt")
    assert (files.path, files.trained, files.note) == (tmp_path / "100000_nets_ema.ckpt", None, None)
