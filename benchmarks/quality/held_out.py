"""The held-out images of a drawn data set with their truth, and training images for its judges."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from starcast.errors import DatasetError
from starcast.train.creatures.dataset import read_facts
from starcast.train.creatures.draw import draw_creature

Images = NDArray[np.uint8]  # (N, H, W, 3), RGB
Silhouettes = NDArray[np.bool_]  # (N, H, W)


@dataclass(frozen=True)
class HeldOut:
    """Real images and true silhouettes of a domain."""

    images: Images
    silhouettes: Silhouettes


def read_held_out(folder: Path) -> dict[str, HeldOut]:
    """The held-out images of a drawn data set by domain; their silhouettes are drawn again from the set's facts."""
    size, facts = read_facts(folder)
    return {
        domain: HeldOut(
            np.stack([_read(Path(folder) / creature.file) for creature in creatures]),
            np.stack([draw_creature(creature.pose, creature.coat, size)[1] for creature in creatures]),
        )
        for domain, creatures in facts.items()
    }


def read_training_images(folder: Path, most: int = 200) -> tuple[Images, NDArray[np.int64]]:
    """Up to `most` training images of each domain, and their domains as indices in the order of `read_held_out`."""
    images, domains = [], []
    for index, domain in enumerate(read_facts(folder)[1]):
        files = sorted((Path(folder) / domain / "train").glob("*.png"))[:most]
        images += [_read(file) for file in files]
        domains += [index] * len(files)
    if not images:
        raise DatasetError(f"{folder} holds no training images: create it again with `starcast dataset make`")
    return np.stack(images), np.array(domains, np.int64)


def _read(file: Path) -> NDArray[np.uint8]:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))
