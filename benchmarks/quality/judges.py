"""One figure for how good a checkpoint's networks are, so that mixes of checkpoints can be compared.

On drawn creatures it is made of the set's own measures, on held-out images with known ground truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from starcast.benchmarks.quality.classifier import train_classifier
from starcast.benchmarks.quality.creatures import Style, measure_quality
from starcast.benchmarks.quality.measures import Images, read_held_out, read_training_images
from starcast.errors import OptionError, printable
from starcast.export.gate.reference import as_floats, translate
from starcast.runtime.styles import draw_latents
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.creatures.files import FACTS

Judge = Callable[[Any], float]


@dataclass(frozen=True)
class EagerModel:
    """Networks that translate by latents and references, in PyTorch, as `measure_quality` calls a model."""

    networks: Any
    domains: Sequence[str]
    latent_dim: int

    @torch.inference_mode()
    def style(self, *, domain: str, seed: int | None = None, reference: NDArray[np.uint8] | None = None) -> Style:
        """A style of a domain (S,), from a latent's seed or a reference (H, W, 3)."""
        place = torch.tensor([self.domains.index(domain)])
        if reference is not None:
            styles = self.networks.style_encoder(as_floats(reference[None]), place)
        else:
            styles = self.networks.mapping_network(torch.from_numpy(draw_latents(seed or 0, 1, self.latent_dim)), place)
        style: Style = styles[0].numpy()
        return style

    def __call__(self, images: Images, style: Style) -> Images:
        return translate(self.networks.generator, images, np.atleast_2d(style))


def choose_judge(data: Path, checkpoint: Checkpoint) -> Judge:
    """What scores networks like the checkpoint's on the held-out images of `data`, from 0 to 1.

    Raises OptionError for networks without a style encoder, and for sets that nothing here can judge.
    """
    if "style_encoder" not in checkpoint.averaged:
        raise OptionError(
            f"--greedy judges translations to references, and {checkpoint.family} makes none: leave it out"
        )
    if not (data / FACTS).is_file():
        raise OptionError(
            f"--greedy cannot judge {printable(data)}, because it is not a set of `starcast dataset make`: leave "
            "--greedy out, and compare the sheets by eye"
        )
    held_out = read_held_out(data)
    if set(held_out) != set(checkpoint.domain_names):
        raise OptionError(f"{printable(data)} has the domains {', '.join(held_out)}, which are not the checkpoint's")
    classify = train_classifier(*read_training_images(data))

    def judge(networks: Any) -> float:
        model = EagerModel(networks, checkpoint.domain_names, checkpoint.config.latent_dim)
        return measure_quality(held_out, model, classify).score

    return judge
