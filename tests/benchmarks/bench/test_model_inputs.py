"""What a checkpoint's rows make images from: a face model's images come with the masks that its networks make."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from starcast.benchmarks.bench.inputs import Inputs
from starcast.benchmarks.bench.model_inputs import inputs_of
from starcast.benchmarks.bench.rows import Setting
from starcast.export.families import open_model
from starcast.train.checkpoint.file import read_checkpoint, write_checkpoint
from starcast.train.families.stargan_v2.networks import StarGANv2Config, random_networks

FACES = StarGANv2Config(
    image_size=32, domains=2, style_dim=4, latent_dim=3, mapping_width=8, channel_base=256, max_channels=16,
    high_pass=1.0,
)  # fmt: skip


def test_a_face_models_images_come_with_their_masks_for_every_row(tmp_path: Path):
    path = tmp_path / "faces.pt"
    networks = random_networks(FACES, seed=1)
    write_checkpoint(path, config=FACES, domain_names=("female", "male"), step=0, averaged=networks)
    checkpoint = read_checkpoint(path)
    inputs = inputs_of(checkpoint, Setting(size=(32, 32), batch=1), None)
    assert list(inputs.feeds) == ["image", "style", "masks"]
    assert inputs.extra["masks"].shape == (3, 2, 256, 256)
    expected = open_model(checkpoint, ("female", "male")).extras(inputs.images)
    np.testing.assert_array_equal(inputs.extra["masks"], expected["masks"])
    inputs.save(tmp_path / "inputs.npz")
    again = Inputs.load(tmp_path / "inputs.npz").take(slice(1, 2))
    assert list(again.feeds) == ["image", "style", "masks"]
    np.testing.assert_array_equal(again.extra["masks"], expected["masks"][1:2])
