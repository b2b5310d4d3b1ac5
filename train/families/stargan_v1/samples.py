"""StarGAN v1's sample grid: a row for each source, and beside it one translation for each label.

As the original's: an attribute is flipped, a hair colour is set in place of the others, and a class is set. With two
sets the sources are those of the list, whose attributes are known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from starcast.attributes import each_changed
from starcast.train.data.folders import DataSet
from starcast.train.families.stargan_v1.batches import LabelledSet, labelled_sets, sample_transform, whole_labels
from starcast.train.families.stargan_v1.networks import Networks
from starcast.train.families.stargan_v1.options import StarGANv1Options
from starcast.train.randomness import draws
from starcast.train.samples import first_readable, image_grid

ROWS = 8


@dataclass(frozen=True)
class SampleInputs:
    """Sources (N, 3, H, W) in -1..1, and target labels (targets, N, label_size)."""

    sources: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> SampleInputs:
        """A copy on a device."""
        return SampleInputs(self.sources.to(device), self.targets.to(device))


def sample_inputs(data_set: DataSet, options: StarGANv1Options) -> SampleInputs:
    """Images drawn at random, held-out ones first; of folders, from each in turn."""
    prepare = sample_transform(options.data, options.network.image_size)
    images: list[Tensor] = []
    labels: list[NDArray[np.float32]] = []
    for held_out in (True, False):
        source = labelled_sets(data_set, held_out=held_out)[0]
        order = _order(source, options, data_set)
        for index, image in first_readable([source.paths[pick] for pick in order], ROWS - len(images), prepare):
            images.append(image)
            labels.append(source.labels[order[index]])
    if not images:
        side = options.network.image_size
        images, labels = [torch.zeros(3, side, side)], [labelled_sets(data_set)[0].labels[0]]
    return SampleInputs(torch.stack(images), torch.from_numpy(target_labels(np.stack(labels), data_set)))


def target_labels(labels: NDArray[np.float32], data_set: DataSet) -> NDArray[np.float32]:
    """Whole labels (N, label_size) -> the targets of their translations (targets, N, label_size)."""
    names = data_set.listed.names if data_set.listed is not None else ()
    attributes, classes = len(names), len(data_set.domains)
    targets = []
    if attributes:
        changed = each_changed(labels[:, :attributes], names)
        targets.append(whole_labels(changed, False, attributes, classes))
    if classes:
        one_hot = np.eye(classes, dtype=np.float32)[:, None].repeat(len(labels), axis=1)
        targets.append(whole_labels(one_hot, True, attributes, classes))
    return np.concatenate(targets)


def _order(source: LabelledSet, options: StarGANv1Options, data_set: DataSet) -> list[int]:
    """The set's images in a random order; if they are of folders, one of each in turn."""
    order: list[int] = draws(options.course.seed, 0, 0, "sample images").permutation(len(source.paths)).tolist()
    if data_set.listed is not None:
        return order
    seen = [0] * source.labels.shape[1]
    turns = {}
    for pick in order:
        domain = int(source.labels[pick].argmax())
        turns[pick] = (seen[domain], domain)
        seen[domain] += 1
    return sorted(order, key=lambda pick: turns[pick])


def grids(_networks: Networks, averaged: Networks, inputs: SampleInputs) -> dict[str, Tensor]:
    """The sample grid, by its kind."""
    return {"labels": labels_grid(averaged, inputs)}


@torch.inference_mode()
def labels_grid(averaged: Networks, inputs: SampleInputs) -> Tensor:
    """A row for each source: the source, then its translation to each target. uint8 (3, H, W)."""
    translations = [averaged.generator(inputs.sources, target) for target in inputs.targets]
    return image_grid(list(torch.stack([inputs.sources, *translations], dim=1)))
