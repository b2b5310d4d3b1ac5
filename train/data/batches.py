"""Folders of images -> batches. The batch of a step is a pure function of the step: no epoch, no state, no order.

Batches are balanced by domain: first a domain is drawn, all equally likely, then one of its images, with replacement.
"""

from __future__ import annotations

import dataclasses
import errno
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from starcast.errors import DatasetError, ImageError, StarcastError, TrainingError
from starcast.images.read import read_image
from starcast.train.data.batch import TensorBatch
from starcast.train.data.folders import DataSet
from starcast.train.options import DataOptions, TrainOptions
from starcast.train.randomness import draws, torch_seed

# reasons that say nothing about the file: the run must not go on with another image in its place
_NOT_THE_FILE = {
    getattr(errno, name)
    for name in ("EMFILE", "ENFILE", "ENOMEM", "ENOTCONN", "ETIMEDOUT", "ESTALE", "EHOSTDOWN", "EHOSTUNREACH")
    if hasattr(errno, name)
}


@dataclass(frozen=True)
class Drawn:
    """One step's batch, or why there is none. `unreadable` says which files were replaced, and why."""

    batch: TensorBatch | None
    unreadable: tuple[str, ...] = ()
    failure: StarcastError | None = None

    def pin_memory(self) -> Drawn:
        """A copy in page-locked memory, which a GPU can read while it computes."""
        return self if self.batch is None else dataclasses.replace(self, batch=self.batch.pin_memory())


def training_transform(size: int, crop_probability: float) -> v2.Transform:
    """uint8 (3, H, W) -> uint8 (3, size, size): sometimes a crop, always a resize, a mirror image half the time."""
    crop = v2.RandomResizedCrop((size, size), scale=(0.8, 1.0), ratio=(0.9, 1.1), antialias=True)
    return v2.Compose(
        [
            v2.RandomApply([crop], crop_probability),
            v2.Resize((size, size), antialias=True),
            v2.RandomHorizontalFlip(),
        ]
    )


class StepBatches(Dataset[Drawn], ABC):
    """A data set: item k is the batch of step k, with uint8 images. A family's subclass decides what a batch holds.

    Picklable, so that spawned workers can use it. The memory for decoded images is divided among the `workers`.
    """

    def __init__(self, data_set: DataSet, options: TrainOptions, *, workers: int = 0, rank: int = 0) -> None:
        self.images: list[Sequence[Path]] = [domain.training for domain in data_set.domains]
        self.places = [f"the domain {domain.name!r}" for domain in data_set.domains]  # of `images`, for messages
        self.seed = options.course.seed
        self.rank = rank
        self.batch_size = options.data.batch_size
        cropped = options.data.crop_probability if isinstance(options.data, DataOptions) else 0.0
        self.transform = training_transform(options.network.image_size, cropped)
        self.decoded = DecodedImages(options.data.cache_mb * 2**20 // max(1, workers))

    @abstractmethod
    def draw(self, step: int) -> TensorBatch:
        """The batch of a step. Raises DatasetError if a domain has no readable image, and TrainingError if the machine
        cannot read any now."""

    def __getitem__(self, step: int) -> Drawn:
        self.decoded.bad.clear()
        try:
            batch = self.draw(step)
        except (DatasetError, TrainingError) as error:
            return Drawn(None, tuple(self.decoded.bad), error)
        return Drawn(batch, tuple(self.decoded.bad))

    def draws(self, step: int, purpose: str) -> np.random.Generator:
        """The random generator for one purpose at this step."""
        return draws(self.seed, step, self.rank, purpose)

    def draw_domains(self, step: int, purpose: str) -> NDArray[np.int64]:
        """Draw a domain for each image of the batch, all domains equally likely."""
        return self.draws(step, purpose).integers(len(self.images), size=self.batch_size)

    def draw_images(self, step: int, purpose: str, domains: NDArray[np.int64]) -> NDArray[np.int64]:
        """Draw the index of an image for each of these domains, with replacement."""
        return self.draws(step, purpose).integers(self.counts(domains))

    def next_in_turn(self, step: int, purpose: str, count: int, size: int) -> NDArray[np.int64]:
        """Indices of `size` images a step, so that each of `count` comes once in every pass, each time in a new order.

        A function of the step alone: the order of a pass is drawn when a step needs it.
        """
        positions = np.arange(step * size, (step + 1) * size)
        order = {
            turn: draws(self.seed, int(turn), self.rank, f"order of {purpose}").permutation(count)
            for turn in np.unique(positions // count)
        }
        return np.array([order[position // count][position % count] for position in positions])

    def counts(self, domains: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many images each of these domains has."""
        return np.array([len(self.images[domain]) for domain in domains])

    def load(
        self, step: int, purpose: str, domains: NDArray[np.int64], picks: NDArray[np.int64],
        partners: NDArray[np.int64],
    ) -> Tensor:  # fmt: skip
        """Load and augment the picked images as uint8 (N, 3, size, size); `purpose` names the random draws.

        An image that cannot be read is replaced by another of its domain. Its partner, the other half of a pair, is the
        last resort.
        """
        return self.load_and_tell(step, purpose, domains, picks, partners)[0]

    def load_and_tell(
        self, step: int, purpose: str, domains: NDArray[np.int64], picks: NDArray[np.int64],
        partners: NDArray[np.int64],
    ) -> tuple[Tensor, NDArray[np.int64]]:  # fmt: skip
        """As `load`; also which images were taken, for a family whose images have labels of their own."""
        loaded = [
            self._readable(step, f"{purpose} {slot}", int(domain), int(pick), int(partner))
            for slot, (domain, pick, partner) in enumerate(zip(domains, picks, partners, strict=True))
        ]
        with torch.random.fork_rng(devices=[]):  # the transforms draw from torch's global generator
            torch.default_generator.manual_seed(torch_seed(self.seed, step, self.rank, f"augment {purpose}"))
            pixels = torch.stack([self.transform(image) for image, _ in loaded])
        return pixels, np.array([pick for _, pick in loaded])

    def _readable(self, step: int, purpose: str, domain: int, pick: int, partner: int) -> tuple[Tensor, int]:
        """The picked image and its index; if it cannot be read, the first readable one in a random order fixed for
        this step."""
        images = self.images[domain]
        image = self.decoded.read(images[pick])
        if image is not None:
            return image, pick
        others = self.draws(step, f"instead of {purpose}").permutation(len(images))
        for other in sorted(others.tolist(), key=lambda other: other == partner):  # the partner is the last resort
            image = self.decoded.read(images[other])
            if image is not None:
                return image, other
        raise DatasetError(
            f"none of the {len(images)} training images of {self.places[domain]} can be read: "
            "`starcast dataset check` says why for each"
        )


class DecodedImages:
    """Reads files as uint8 (3, H, W) and caches up to `budget` bytes: decoding costs more than everything else."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.images: dict[Path, Tensor] = {}
        self.unreadable: dict[Path, str] = {}
        self.bad: dict[str, None] = {}  # reasons why images could not be read, since the last clear()

    def read(self, path: Path) -> Tensor | None:
        """The image, or None if the file cannot be read. Raises TrainingError if the machine is to blame."""
        if path in self.images:
            return self.images[path]
        if path not in self.unreadable:
            try:
                image = torch.from_numpy(self.decode(path).transpose(2, 0, 1).copy())
            except ImageError as error:
                if getattr(error.__cause__, "errno", None) in _NOT_THE_FILE:
                    raise TrainingError(f"{error}; the machine cannot read images now, whatever the file") from error
                self.unreadable[path] = str(error)
            else:
                if image.nbytes <= self.budget:
                    self.budget -= image.nbytes
                    self.images[path] = image
                return image
        self.bad[self.unreadable[path]] = None
        return None

    def decode(self, path: Path) -> NDArray[np.uint8]:
        """The file's image [H, W, channels]. Raises ImageError."""
        return read_image(path)
