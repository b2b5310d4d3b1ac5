"""Train a model of AFHQ's size in half an hour on two cores, good enough to judge int8 and bf16 by.

    python -m starcast.benchmarks.studies.paired_model paired
    starcast export paired/model.pt -o paired/bundle --precisions fp32,bf16,int8
    starcast bench paired/bundle

Random weights amplify every rounding, so their quality in fewer bits means nothing. Adversarial training at this size
takes days on a GPU. This model is trained on pairs instead, which only a drawn data set has: the generator must draw
the source's pose in the reference's coat, and the right answer can be drawn too. It is a stand-in: its weights, norms
and ranges are those of a network that translates, but it knows only creatures, and renders their poses and colours
better than their patterns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import l1_loss
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from starcast.benchmarks.bench.random_weights import config_of
from starcast.click_options import options_from
from starcast.export.gate.reference import as_floats
from starcast.options import CheckedOptions, option
from starcast.runtime.machine import processor
from starcast.train.checkpoint.file import write_checkpoint
from starcast.train.creatures.coats import DOMAINS
from starcast.train.creatures.dataset import creature_of, make_dataset
from starcast.train.creatures.draw import draw_creature
from starcast.train.creatures.options import CreatureOptions
from starcast.train.families import family

CONFIG = config_of(256, len(DOMAINS))
CREATURES = CreatureOptions(image_size=256, train_images=200, val_images=40)
LEARNING_RATE = 5e-4
WARM_UP = 0.1  # share of all steps; then the rate falls to 0 along a cosine
LATENTS = 1  # added to the seed to draw latents, so that they do not share the pairs' random stream


@dataclass(frozen=True, kw_only=True)
class PairedOptions(CheckedOptions):
    """How to train."""

    steps: int = option(800, "Pairs to teach on.", minimum=1)
    seed: int = option(0, "Seed for the initial weights and the training pairs.", minimum=0)


@dataclass(frozen=True)
class Pair:
    """Images (3, 256, 256) in -1..1. `domain` and `coat` number what the reference and the translation share."""

    source: Tensor
    reference: Tensor
    translation: Tensor
    domain: int
    coat: int


class Pairs(Dataset[Pair]):
    """The pairs of a seed. Each depends only on the seed and its index."""

    def __init__(self, steps: int, seed: int):
        self.steps, self.seed = steps, seed

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, number: int) -> Pair:
        random = np.random.default_rng([self.seed, number])
        names = list(DOMAINS)
        origin, domain = (int(drawn) for drawn in random.integers(len(names), size=2))
        place, coat_place = (int(drawn) for drawn in random.integers(CREATURES.train_images, size=2))
        pose, own_coat = creature_of(CREATURES.seed, names[origin], "train", place)
        other_pose, coat = creature_of(CREATURES.seed, names[domain], "train", coat_place)
        return Pair(
            _draw(pose, own_coat), _draw(other_pose, coat), _draw(pose, coat),
            domain, domain * CREATURES.train_images + coat_place,
        )  # fmt: skip


def _draw(pose: Any, coat: Any) -> Tensor:
    image, _ = draw_creature(pose, coat, CREATURES.image_size)
    return as_floats(image[None])[0]


def teach(options: PairedOptions, progress: Callable[[float], None] = lambda loss: None) -> Any:
    """Train networks; `progress` gets each step's loss. The mapping network learns a latent for each coat."""
    trained = family(CONFIG.family)
    networks: Any = trained.build_networks(CONFIG, options.seed)
    latents = torch.randn(
        len(DOMAINS) * CREATURES.train_images, CONFIG.latent_dim,
        generator=torch.Generator().manual_seed(options.seed + LATENTS),
    )  # fmt: skip
    taught = [networks.generator, networks.style_encoder, networks.mapping_network]
    optimizer = torch.optim.Adam([value for network in taught for value in network.parameters()], betas=(0.5, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=options.steps + 1, pct_start=WARM_UP
    )
    half = torch.autocast("cpu", torch.bfloat16, enabled="BF16" in processor().instruction_sets)
    for pair in DataLoader(Pairs(options.steps, options.seed), batch_size=None, num_workers=1):
        domain = torch.tensor([pair.domain])
        with half:
            style = networks.style_encoder(pair.reference[None], domain)
            translation = networks.generator(pair.source[None], style)
            named = networks.mapping_network(latents[pair.coat][None], domain)
        loss = l1_loss(translation.float()[0], pair.translation)
        optimizer.zero_grad()
        torch.autograd.backward(loss + l1_loss(named.float(), style.detach().float()))
        optimizer.step()
        schedule.step()
        progress(loss.item())
    return trained.averaged_copy(networks)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@options_from(PairedOptions)
def paired_model(folder: Path, **values: Any) -> None:
    """Draw creatures into FOLDER/data, and train a network of AFHQ's size to change their coats: FOLDER/model.pt."""
    options = PairedOptions(**values)
    data = folder / "data"
    if not data.exists():
        make_dataset(data, CREATURES)
    with tqdm(total=options.steps, desc="teaching", unit="step") as steps:

        def show(loss: float) -> None:
            steps.set_postfix_str(f"L1 {loss:.3f}")
            steps.update()

        networks = teach(options, show)
    write_checkpoint(
        folder / "model.pt", config=CONFIG, domain_names=tuple(DOMAINS), step=options.steps,
        averaged=networks, dataset={"name": data.name, "path": str(data.resolve())},
    )  # fmt: skip


if __name__ == "__main__":
    paired_model()
