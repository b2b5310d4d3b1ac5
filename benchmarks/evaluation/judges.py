"""The networks that judge outputs: Inception, LPIPS and, for a drawn set, a classifier of its domains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from starcast.benchmarks.quality.classifier import train_classifier
from starcast.benchmarks.quality.inception import Inception, TensorFlowInception
from starcast.benchmarks.quality.measures import read_training_images
from starcast.benchmarks.quality.perceptual import Lpips
from starcast.benchmarks.quality.weights import (
    alexnet_file,
    find_tensorflow_inception,
    find_weights,
    inception_file,
)
from starcast.train.creatures.dataset import read_facts
from starcast.train.creatures.files import FACTS

Floats = NDArray[np.float32]

USUAL = "usual"  # the way to prepare images for TensorFlow's Inception


class Features(Protocol):
    """Prepared images (N, 3, h, w) -> features, float32 (N, width)."""

    @property
    def width(self) -> int: ...

    def __call__(self, images: NDArray[Any]) -> Floats: ...


@dataclass(frozen=True)
class Judges:
    """`lpips`: outputs (O, N, 3, H, W) in -1..1 -> the distances of all pairs (N, O * (O - 1) / 2). `usual`: the
    network of the usual FID, where its weights are there. `facts` identify the networks' weights, in the report and in
    the cache of features."""

    features: Features
    lpips: Callable[[Tensor], NDArray[np.float64]]
    facts: dict[str, Any]
    usual: Features | None = None

    def network(self, way: str) -> Features:
        """The network for images that are prepared in this way."""
        return self.usual if way == USUAL and self.usual is not None else self.features

    def weights(self, way: str) -> Any:
        """The facts of that network's weights."""
        return self.facts.get("tensorflow inception" if way == USUAL else "inception")


def open_judges(
    folder: Path | None, *, download: bool, device: torch.device, progress: Callable[[str], None]
) -> Judges:
    """Open the networks, with weights from `folder` or torch's cache. Raises OptionError, CheckpointError, and
    ModuleNotFoundError if a package is missing."""
    import lpips  # noqa: F401  before anything is read: each missing package has its own line
    import torchmetrics  # noqa: F401

    files = (inception_file(), alexnet_file())
    inception, alexnet = find_weights(files, folder, download=download, progress=progress)
    usual = find_tensorflow_inception(folder, progress)
    facts = {"inception": inception.facts(), "alexnet": alexnet.facts()}
    if usual is None:
        return Judges(Inception(inception, device), Lpips(alexnet, device), facts)
    facts["tensorflow inception"] = usual.facts()
    networks = Inception(inception, device), Lpips(alexnet, device)
    return Judges(*networks, facts, TensorFlowInception(usual, device))


def full_float32() -> AbstractContextManager[None]:
    """On a GPU, compute with all of float32's digits: TF32 would move features by more than the tolerance."""
    context: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return context


Classify = Callable[[NDArray[np.uint8]], NDArray[np.int64]]  # uint8 (N, H, W, 3) -> places in the evaluated domains


def classifier_of(data: Path, names: Sequence[str]) -> Classify | None:
    """A classifier of the domains `names`, trained on the real images of a set that `starcast dataset make` drew; None
    for any other data. An image of a domain that is not among the names is -1."""
    if not (data / FACTS).is_file():
        return None
    classify = train_classifier(*read_training_images(data))
    places = np.array([names.index(name) if name in names else -1 for name in read_facts(data)[1]], np.int64)
    return lambda images: places[classify(images)]
