"""The batch of a StarGAN v1 step: images with their own labels, and the labels that they are translated to.

Images come by list, by folders, or from both in turn, each once in every pass over its set. An image's target labels
are another's of the same batch, so that targets are as likely as they are among the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from starcast.errors import DatasetError, printable
from starcast.train.data.attributes import find_list, read_listed
from starcast.train.data.batch import TensorBatch
from starcast.train.data.batches import StepBatches
from starcast.train.data.folders import DataSet, scan_domains
from starcast.train.families.stargan_v1.options import StarGANv1Data, StarGANv1Options

Labels = NDArray[np.float32]


@dataclass(frozen=True)
class Batch(TensorBatch):
    """Images float (N, 3, H, W) in -1..1, labels float (N, label_size), alpha (N, 1, 1, 1).

    N is that of all updates of a step: `split` gives one update's batch after the other. `alpha` is the share of the
    source where the gradient penalty looks.
    """

    source: Tensor
    labels: Tensor
    target: Tensor
    alpha: Tensor


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Images of one set, and their whole label vectors (images, label_size). `place` names it in messages."""

    place: str
    paths: Sequence[Path]
    labels: Labels


def scan(path: Path, options: StarGANv1Options) -> DataSet:
    """The run's data set: the folders of `path`, the images of a list, or both. Raises DatasetError."""
    data = options.data
    if not data.attributes:
        return scan_domains(path, options)
    folder = data.list_images or path
    listed = read_listed(data.attribute_list or find_list(folder), folder, data.attributes)
    if data.list_images is None:
        return DataSet(path, (), listed=listed)
    folders = scan_domains(path, options)
    both = sorted({*listed.names} & {*folders.names})
    if both:
        raise DatasetError(
            f"{printable(path)} has the folder {printable(both[0])}, which is an attribute, too: rename the folder"
        )
    return DataSet(path, folders.domains, folders.unused, listed)


def labelled_sets(data_set: DataSet, *, held_out: bool = False) -> list[LabelledSet]:
    """The images by list, then those by folders, as far as there are any; training ones, or those held out."""
    listed, domains = data_set.listed, data_set.domains
    parts: list[tuple[str, Sequence[Path], Labels]] = []
    if listed is not None:
        labels = listed.held_out_labels if held_out else listed.labels
        paths = listed.held_out if held_out else listed.training
        parts.append((f"{printable(listed.file.name)}", paths, labels.astype(np.float32)))
    if domains:
        images = [domain.held_out if held_out else domain.training for domain in domains]
        classes = np.repeat(np.arange(len(domains)), [len(part) for part in images])
        parts.append((f"{printable(data_set.path)}", sum(images, ()), np.eye(len(domains), dtype=np.float32)[classes]))
    widths = [len(listed.names) if listed is not None else 0, len(domains)]
    return [
        LabelledSet(place, paths, whole_labels(labels, listed is None or number == 1, *widths))
        for number, (place, paths, labels) in enumerate(parts)
    ]


def whole_labels(labels: Labels, by_class: bool, attributes: int, classes: int) -> Labels:
    """Label vectors of one set, (..., its labels) -> (..., label_size): with both sets, zeros for the other one's and
    two bits that say which set it is."""
    if not attributes or not classes:
        return labels
    before, after = (attributes, 0) if by_class else (0, classes)
    padding = [(0, 0)] * (labels.ndim - 1)
    bits = np.broadcast_to(np.array([not by_class, by_class], np.float32), (*labels.shape[:-1], 2))
    return np.concatenate([np.pad(labels, [*padding, (before, after)]), bits], axis=-1)


class CentreSquare(nn.Module):
    """uint8 (3, H, W) -> the square in the centre, of a given side or as large as it can be."""

    def __init__(self, side: int | None) -> None:
        super().__init__()
        self.side = side

    def forward(self, image: Tensor) -> Tensor:
        most = min(image.shape[-2:])
        square: Tensor = functional.center_crop(image, [min(self.side or most, most)] * 2)
        return square


def sample_transform(data: StarGANv1Data, side: int) -> v2.Transform:
    """uint8 (3, H, W) -> uint8 (3, side, side), the same each time: what translations start from."""
    return v2.Compose([CentreSquare(data.crop_size), v2.Resize((side, side), antialias=True)])


def training_transform(data: StarGANv1Data, side: int) -> v2.Transform:
    """uint8 (3, H, W) -> uint8 (3, side, side): a mirror image half the time, the centre, and sometimes a crop."""
    crop = v2.RandomResizedCrop((side, side), scale=(0.8, 1.0), ratio=(0.9, 1.1), antialias=True)
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            CentreSquare(data.crop_size),
            v2.RandomApply([crop], data.crop_probability),
            v2.Resize((side, side), antialias=True),
        ]
    )


class LabelledBatches(StepBatches):
    """The batch of every step, with uint8 images."""

    def __init__(self, data_set: DataSet, options: StarGANv1Options, *, workers: int = 0, rank: int = 0) -> None:
        super().__init__(data_set, options, workers=workers, rank=rank)
        self.transform = training_transform(options.data, options.network.image_size)
        self.sets = labelled_sets(data_set)
        self.images = [part.paths for part in self.sets]
        self.places = [part.place for part in self.sets]
        self.rounds = options.course.d_steps

    def draw(self, step: int) -> Batch:
        size, count = self.batch_size, len(self.sets)
        turns = [
            self.next_in_turn(step, f"set {number}", len(part.paths), self.rounds * size).reshape(self.rounds, size)
            for number, part in enumerate(self.sets)
        ]
        picks = np.stack(turns, axis=1).reshape(-1)  # round, set, image
        which = np.tile(np.repeat(np.arange(count), size), self.rounds)
        source, taken = self.load_and_tell(step, "source", which, picks, picks)
        labels = np.stack([self.sets[number].labels[pick] for number, pick in zip(which, taken, strict=True)])
        alpha = self.draws(step, "alpha").random(len(labels), dtype=np.float32)
        return Batch(
            source=source,
            labels=torch.from_numpy(labels),
            target=torch.from_numpy(self._targets(step, labels)),
            alpha=torch.from_numpy(alpha.reshape(-1, 1, 1, 1)),
        )

    def _targets(self, step: int, labels: Labels) -> Labels:
        """The labels of each update's batch, in another order."""
        order = self.draws(step, "target")
        batches = labels.reshape(-1, self.batch_size, labels.shape[1])
        return np.concatenate([batch[order.permutation(self.batch_size)] for batch in batches])
