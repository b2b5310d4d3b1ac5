"""Figures, with required values, for what a model has learnt from creatures: to translate by labels, or to generate.

The judges are classifiers trained on real images only. One sees colours, the other only patterns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from starcast.benchmarks.quality.classifier import Classifier, train_classifier
from starcast.benchmarks.quality.creatures import Bar
from starcast.benchmarks.quality.frechet import frechet_distance
from starcast.benchmarks.quality.gaussian import fit_gaussian
from starcast.benchmarks.quality.measures import (
    HeldOut,
    Images,
    backdrop_drifts,
    find_silhouettes,
    overlaps,
    read_held_out,
    read_training_images,
)
from starcast.export.gate.reference import as_floats, to_bytes
from starcast.train.checkpoint.file import averaged_networks, read_checkpoint
from starcast.train.randomness import draws
from starcast.train.samples import image_grid

BATCH = 100  # images in one pass
EVERY = 10**6  # training images of a domain: all of them
COLUMNS = 16  # of a sheet
ROWS = 8  # of generated images on a sheet; a row of the Gaussian's and one of real ones follow
COMPONENTS = (10, 30, 100, 300, 1000)  # of the Gaussians; and all there are

FLIPPED = Bar("the share of translations in which the classifier finds the flipped label", least=0.9)
KEPT = Bar("the silhouettes' intersection over union", least=0.8)


@dataclass(frozen=True)
class Judgement:
    """The figures of a model, a sentence for each missed bar, and a sheet of its images, uint8 (3, H, W)."""

    figures: dict[str, Any]
    missed: list[str]
    sheet: Tensor


@dataclass(frozen=True)
class Judges:
    """Classifiers of the domains, with and without colours."""

    colours: Classifier
    patterns: Classifier

    def accuracy(self, images: Images, domains: Any) -> dict[str, float]:
        """The share of images that each judge assigns to `domains`: one index for all images, or one each, (N,)."""
        return {name: _round_figure(np.mean(judge(images) == domains)) for name, judge in vars(self).items()}


def train_judges(data: Path) -> Judges:
    """Train on all training images of a set of creatures."""
    images, domains = read_training_images(data, EVERY)
    return Judges(train_classifier(images, domains), train_classifier(images, domains, pattern_only=True))


def judge_labels(checkpoint: Path, data: Path, judges: Judges) -> Judgement:
    """Turn each held-out creature into every other domain by its label, as StarGAN v1 does."""
    generator: Any = averaged_networks(read_checkpoint(checkpoint)).generator
    held_out = read_held_out(data)
    figures: dict[str, Any] = {"judges on real images": _judges_on_real(judges, held_out), "domains": {}}
    rows = []
    for place, domain in enumerate(held_out):
        others = [other for name, other in held_out.items() if name != domain]
        sources = np.concatenate([other.images for other in others])
        silhouettes = np.concatenate([other.silhouettes for other in others])
        labels = torch.eye(len(held_out))[place]
        translations = _translate_in_parts(
            lambda part, labels=labels: generator(part, labels.expand(len(part), -1)), sources
        )
        figures["domains"][domain] = {
            "translations": len(sources),
            "flipped": judges.accuracy(translations, place),
            "overlap": _round_figure(overlaps(find_silhouettes(translations), silhouettes).mean()),
            "drift": _round_figure(backdrop_drifts(sources, translations, silhouettes).mean()),
        }
        shown = np.linspace(0, len(sources) - 1, COLUMNS).astype(int)
        rows += [as_floats(sources[shown]), as_floats(translations[shown])]
    by_domain = figures["domains"].values()
    figures["flipped"] = _round_figure(np.mean([facts["flipped"]["colours"] for facts in by_domain]))
    patterns = [facts["flipped"]["patterns"] for facts in by_domain]
    figures["flipped, seen without colours"] = _round_figure(np.mean(patterns))
    figures["overlap"] = _round_figure(np.mean([facts["overlap"] for facts in by_domain]))
    missed = [FLIPPED.missed_by(figures["flipped"]), KEPT.missed_by(figures["overlap"])]
    return Judgement(figures, [sentence for sentence in missed if sentence is not None], image_grid(rows))


def judge_samples(checkpoint: Path, data: Path, judges: Judges) -> Judgement:
    """Compare StyleGAN2's images with held-out ones. References: a Gaussian's samples, and other held-out images."""
    held_out = read_held_out(data)
    real = np.concatenate([domain.images for domain in held_out.values()])
    real = real[np.random.default_rng(0).permutation(len(real))]
    count = len(real) // 2
    against, others = real[:count], real[count : 2 * count]
    generated = generate(checkpoint, count)
    gaussian = fit_gaussian(read_training_images(data, EVERY)[0])
    counts = [*(number for number in COMPONENTS if number < len(gaussian.deviations)), len(gaussian.deviations)]
    blurs = {number: gaussian.sample(count, number, seed=number) for number in counts}
    figures: dict[str, Any] = {"images each": count, "judges on real images": _judges_on_real(judges, held_out)}
    missed = []
    for name, judge in vars(judges).items():
        features = judge.features(against)
        by_count = {str(number): _distance(judge, blur, features) for number, blur in blurs.items()}
        distances = {
            "generated": _distance(judge, generated, features),
            "gaussian": min(by_count.values()),
            "real": _distance(judge, others, features),
        }
        figures[f"distance by {name}"] = {**distances, "gaussian by components": by_count}
        bar = Bar(f"the generated images' Fréchet distance by {name}", most=distances["gaussian"])
        missed.append(bar.missed_by(distances["generated"]))
    figures["domains of generated images"] = {
        domain: _round_figure(np.mean(judges.colours(generated) == place)) for place, domain in enumerate(held_out)
    }
    columns = min(COLUMNS, count)
    shown = np.concatenate([generated[: count // columns * columns][: ROWS * columns], blurs[counts[-1]][:columns]])
    rows = np.split(np.concatenate([shown, against[:columns]]), len(shown) // columns + 1)
    sheet = image_grid([as_floats(row) for row in rows])
    return Judgement(figures, [sentence for sentence in missed if sentence is not None], sheet)


def generate(checkpoint: Path, count: int, seed: int = 0) -> Images:
    """Images of StyleGAN2's averaged networks, uint8 (N, H, W, 3): styles without truncation, noise drawn per image."""
    networks: Any = averaged_networks(read_checkpoint(checkpoint))
    generator = networks.generator
    random = torch.Generator().manual_seed(seed)
    latents = draws(seed, 0, 0, "latents").standard_normal((count, networks.mapping_network.mean.numel()), np.float32)
    layers = 2 * len(generator.to_image)
    images = []
    with torch.inference_mode():
        for part in torch.split(torch.from_numpy(latents), BATCH):
            styles = networks.mapping_network(part)[:, None].expand(-1, layers, -1)
            noise = [torch.randn(len(part), *plane.shape[1:], generator=random) for plane in generator.stored_noise]
            images.append(to_bytes(generator(styles, noise)).numpy())
    return np.concatenate(images)


def _distance(judge: Classifier, images: Images, features: Any) -> float:
    return _round_figure(frechet_distance(judge.features(images), features))


def _judges_on_real(judges: Judges, held_out: Mapping[str, HeldOut]) -> dict[str, float]:
    """How good the judges are themselves: their accuracy, and the overlap of found and true silhouettes."""
    images = np.concatenate([domain.images for domain in held_out.values()])
    silhouettes = np.concatenate([domain.silhouettes for domain in held_out.values()])
    domains = np.repeat(np.arange(len(held_out)), [len(domain.images) for domain in held_out.values()])
    overlap = _round_figure(overlaps(find_silhouettes(images), silhouettes).mean())
    return {**judges.accuracy(images, domains), "overlap": overlap}


def _translate_in_parts(network: Any, images: Images) -> Images:
    with torch.inference_mode():
        parts = np.array_split(images, max(1, len(images) // BATCH))
        return np.concatenate([to_bytes(network(as_floats(part))).numpy() for part in parts])


def _round_figure(value: Any) -> float:
    return round(float(value), 4)
