"""One figure for how good a checkpoint's networks are, so that mixes of checkpoints can be compared.

On drawn creatures it is made of the set's own measures, on held-out images with known ground truth. On other sets it is
how near translations come to their references by LPIPS.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from starcast.benchmarks.evaluation.images import match_domains, read_domains
from starcast.benchmarks.quality.classifier import train_classifier
from starcast.benchmarks.quality.creatures import Style, measure_quality
from starcast.benchmarks.quality.measures import Images, read_held_out, read_training_images
from starcast.benchmarks.quality.perceptual import Lpips
from starcast.benchmarks.quality.weights import alexnet_file, find_weights
from starcast.errors import OptionError, printable
from starcast.export.families import open_model
from starcast.export.families.model import Model
from starcast.export.gate.reference import as_floats, translate
from starcast.images.fit import fit
from starcast.images.read import read_image
from starcast.runtime.styles import draw_latents
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.creatures.files import FACTS

Judge = Callable[[Any], float]

MOST = 32  # images of a domain that LPIPS judges
BATCH = 16


class EagerModel:
    """An export model that translates by latents and references, in PyTorch, as `measure_quality` calls a model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._latent = model.condition(None).latent
        graphs = {graph.file: graph for graph in model.style_graphs()}
        self._mapping = graphs[self._latent.graph] if self._latent is not None else None

    @torch.inference_mode()
    def style(self, *, domain: str, seed: int | None = None, reference: NDArray[np.uint8] | None = None) -> Style:
        """A style of a domain (S,), from a latent's seed or a reference (H, W, 3)."""
        number = self._model.domains.index(domain)
        if reference is not None:
            styles = self._model.reference_style(number, reference)
            assert styles is not None  # `choose_judge` says so
        else:
            assert self._mapping is not None
            assert self._latent is not None
            latents = torch.from_numpy(draw_latents(seed or 0, 1, self._latent.size))
            styles = self._mapping.reference(latents, torch.tensor([number])).numpy()
        style: Style = styles[0]
        return style

    def __call__(self, images: Images, style: Style) -> Images:
        made = self._model.extras(images)  # such as masks of faces
        extras = (made[one.name] for one in self._model.extra_inputs)
        return translate(self._model.reference, images, np.atleast_2d(style), *extras)


def choose_judge(
    data: Path, checkpoint: Checkpoint, progress: Callable[[str], None], weights: Path | None, *, download: bool
) -> Judge:
    """What scores networks like the checkpoint's on the held-out images of `data`: at most 1, and more is better.

    LPIPS, if the data needs it, finds AlexNet as `open_lpips` says. `progress` gets a line on what is assumed. Raises
    OptionError for networks without a style encoder, for other domains, and if LPIPS lacks its weights, and
    DatasetError if there are no images.
    """
    if open_model(checkpoint, checkpoint.domain_names).condition(None).reference is None:
        raise OptionError(
            f"--greedy judges translations to references, and {checkpoint.family} makes none: leave --greedy out"
        )
    if (data / FACTS).is_file():
        return _judge_creatures(data, checkpoint)
    return _judge_images(data, checkpoint, progress, weights, download=download)


def _model(networks: Any, checkpoint: Checkpoint) -> EagerModel:
    states = {name: module.state_dict() for name, module in networks.items()}
    return EagerModel(open_model(replace(checkpoint, averaged=states), checkpoint.domain_names))


def _judge_creatures(data: Path, checkpoint: Checkpoint) -> Judge:
    held_out = read_held_out(data)
    if set(held_out) != set(checkpoint.domain_names):
        raise OptionError(f"{printable(data)} has the domains {', '.join(held_out)}, which are not the checkpoint's")
    classify = train_classifier(*read_training_images(data))
    return lambda networks: measure_quality(held_out, _model(networks, checkpoint), classify).score


def _judge_images(
    data: Path, checkpoint: Checkpoint, progress: Callable[[str], None], weights: Path | None, *, download: bool
) -> Judge:
    numbers, side = match_domains(data, checkpoint.domain_names, progress), checkpoint.config.image_size
    if len(numbers) < 2:
        raise OptionError("--greedy translates between domains, and there is only one: leave --greedy out")
    distances = open_lpips(weights, download=download, progress=progress)
    images = {
        name: np.stack([fit(read_image(path), (side, side)) for path in _spread_out(domain.held_out)])
        for name, domain in zip(
            numbers, read_domains(data, None, list(numbers), progress, progress), strict=True
        )
    }  # fmt: skip

    def judge(networks: Any) -> float:
        model = _model(networks, checkpoint)
        nearness: list[float] = []
        for source, target in itertools.permutations(images, 2):
            references = images[target][np.arange(len(images[source])) % len(images[target])]
            domain = checkpoint.domain_names[numbers[target]]
            styles = np.stack([model.style(domain=domain, reference=reference) for reference in references])
            for part in np.array_split(np.arange(len(styles)), -(-len(styles) // BATCH)):
                translations = model(images[source][part], styles[part])
                pair = torch.stack([as_floats(translations), as_floats(references[part])])
                nearness += (1 - distances(pair)[:, 0]).tolist()
        return float(np.mean(nearness))

    return judge


def open_lpips(
    folder: Path | None, *, download: bool, progress: Callable[[str], None]
) -> Callable[[torch.Tensor], NDArray[np.float64]]:
    """LPIPS with AlexNet from `folder`, by default torch's cache. Raises OptionError if its weights are not there,
    CheckpointError if they are damaged, and ModuleNotFoundError if the package is missing."""
    import lpips  # noqa: F401  before anything is fetched

    (weights,) = find_weights([alexnet_file()], folder, download=download, progress=progress, flag="--lpips-weights")
    return Lpips(weights, torch.device("cpu"))


def _spread_out(paths: Sequence[Path]) -> list[Path]:
    """At most MOST of the images, evenly over all."""
    return [paths[place] for place in np.linspace(0, len(paths) - 1, min(MOST, len(paths))).astype(int)]
