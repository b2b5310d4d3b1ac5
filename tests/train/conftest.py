"""Small folders of images, made by arithmetic, and options for runs of seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from starcast.options import replace_options
from starcast.train.families.stargan_v2.options import StarGANv2Options


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small networks are faster on one thread, and other tests run beside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def image(domain: int, number: int, height: int = 40, width: int = 36) -> Image.Image:
    """A gradient whose slope is the domain's and whose level is the number's: no two are alike."""
    rows, columns = np.mgrid[0:height, 0:width]
    plane = rows * (2 + domain) + columns * (4 - domain) + 23 * number
    return Image.fromarray(np.stack([plane % 256, (plane // 2) % 256, (3 * plane) % 256], axis=-1).astype(np.uint8))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two domains, `ink` of four training images and `photo` of seven, with two held-out images each."""
    folder = tmp_path / "images"
    for domain, (name, count) in enumerate({"ink": 4, "photo": 7}.items()):
        for number in range(count + 2):
            place = folder / name / ("train" if number < count else "val")
            place.mkdir(parents=True, exist_ok=True)
            image(domain, number).save(place / f"{number}.png")
    return folder


@pytest.fixture
def small() -> StarGANv2Options:
    """The smallest networks there are, and nothing written but what is asked for."""
    return replace_options(
        StarGANv2Options(),
        image_size=32, channel_base=64, max_channels=8, style_dim=4, latent_dim=3, mapping_width=8, batch_size=3,
        steps=4, ds_steps=30, workers=0, log_every=1, sample_every=0, snapshot_every=0, save_every=100, device="cpu",
        learning_rate=1e-3, mapping_learning_rate=1e-4,
    )  # fmt: skip
