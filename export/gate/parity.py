"""The gate: a written graph is run in ONNX Runtime and compared with PyTorch; what differs is not shipped.

Differences are max |a - b| / max(1, |b|), b being PyTorch's float32 number in the network's own units (pictures in
-1..1). A frame graph is compared twice: the bytes that it gives, and what it has before its last Round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from starcast.errors import ParityError
from starcast.export.gate.candidates import (
    Candidate,
    Floats,
    Trial,
    difference,
    open_session,
    translated_by_torch,
)
from starcast.export.gate.images import flat, pictures
from starcast.export.gate.reference import as_bytes, as_floats
from starcast.runtime.manifest import Parity
from starcast.train.families.stargan_v2.networks import (
    Generator,
    MappingNetwork,
    Networks,
    StarGANv2Config,
    StyleEncoder,
)

TOLERANCE = 2e-4  # of translations, before the last Round
LEVELS = 1  # of their bytes
STYLE_TOLERANCE = 1e-4
LAST_RESORT = "nothing is written; please report this with what `starcast doctor` says"


def make_trials(networks: Networks, config: StarGANv2Config) -> list[Trial]:
    """Batches of 1, 2, 5, and 3 with one style; the latter two of another size, which is not square.

    Styles come from latents and references in turn, of every domain in turn.
    """
    side, stride = config.image_size, config.stride
    styles = _styles(networks, config, count=9)
    return [
        Trial(pictures(1, side, side, seed=1), styles[:1]),
        Trial(pictures(2, side, side, seed=2), styles[1:3]),
        Trial(pictures(5, 8 * stride, 12 * stride, seed=3), styles[3:8]),
        Trial(pictures(3, 8 * stride, 12 * stride, seed=4), styles[8:]),
    ]


def flat_trials(networks: Networks, config: StarGANv2Config) -> list[Trial]:
    """Pictures without texture, one at a time: they are measured, and decide nothing (see pictures.py)."""
    [style] = _styles(networks, config, count=2)[:1]
    return [Trial(picture[None], style[None]) for picture in flat(config.image_size, config.image_size)]


def levels_apart(candidate: Candidate, trials: Sequence[Trial], expected: Sequence[Floats]) -> int:
    """The largest difference of a variant's bytes from PyTorch's, in grey levels."""
    apart = [
        np.abs(candidate.translated(trial).astype(int) - as_bytes(pictures_of_torch).astype(int)).max()
        for trial, pictures_of_torch in zip(trials, expected, strict=True)
    ]
    return int(max(apart))


def expected_translations(generator: Generator, trials: Sequence[Trial]) -> list[Floats]:
    """What PyTorch gives for the trials, [N, 3, H, W] in -1..1 each. ParityError where it is no picture."""
    expected = [translated_by_torch(generator, trial) for trial in trials]
    for translations in expected:
        _refuse_nonsense(translations, "the generator gives values that are not finite")
    return expected


def check_generator(
    candidate: Candidate, name: str, trials: Sequence[Trial], expected: Sequence[Floats], blame: Callable[[Trial], str]
) -> Parity:
    """What was measured of a variant called `name`; ParityError where it differs from the network, with what `blame`
    says is the cause, or where its pictures are none."""
    worst, levels = 0.0, 0
    for trial, pictures_of_torch in zip(trials, expected, strict=True):
        translation = candidate.translated(trial)
        unrounded = (candidate.unrounded(trial).astype(np.float64) - 127.5) / 127.5
        worst = max(worst, difference(unrounded, pictures_of_torch))
        levels = max(levels, int(np.abs(translation.astype(int) - as_bytes(pictures_of_torch).astype(int)).max()))
        if worst > TOLERANCE or levels > LEVELS:
            raise ParityError(
                f"the generator's graph {name} differs from PyTorch by {worst:.1e} and {levels} grey levels (allowed: "
                f"{TOLERANCE:.0e} and {LEVELS}), first at {blame(trial)}: {LAST_RESORT}"
            )
        _refuse_constant(translation)
    batches = tuple(trial.batch for trial in trials)
    return Parity(worst=worst, tolerance=TOLERANCE, levels=levels, pictures=sum(batches), batches=batches)


def check_mapping(graph: Path, network: MappingNetwork, config: StarGANv2Config) -> float:
    """The largest difference of a style made from a latent, over every domain and several batches."""
    draws = np.random.RandomState(5)
    latents = draws.standard_normal((2 * config.domains + 1, config.latent_dim)).astype(np.float32)
    return _check_styles(graph, network, "latent", latents, torch.from_numpy(latents), config.domains)


def check_style_encoder(graph: Path, network: StyleEncoder, config: StarGANv2Config) -> float:
    """The largest difference of a style made from a reference, over every domain and several batches."""
    images = pictures(config.domains + 1, config.image_size, config.image_size, seed=6)
    return _check_styles(graph, network, "image", images, as_floats(images), config.domains)


def _styles(networks: Networks, config: StarGANv2Config, count: int) -> Floats:
    domain = torch.arange(count) // 2 % config.domains
    latents = np.random.RandomState(7).standard_normal((count, config.latent_dim)).astype(np.float32)
    references = pictures(count // 2, config.image_size, config.image_size, seed=8)
    with torch.inference_mode():
        styles: Floats = networks.mapping_network(torch.from_numpy(latents), domain).numpy()
        styles[1::2] = networks.style_encoder(as_floats(references), domain[1::2]).numpy()
    return styles


def _check_styles(
    graph: Path, network: nn.Module, name: str, inputs: NDArray[Any], tensor: torch.Tensor, domains: int
) -> float:
    """Compare a batch of all inputs but the last, and the last alone."""
    domain = np.arange(len(inputs), dtype=np.int64) % domains
    with torch.inference_mode():
        expected = network(tensor, torch.from_numpy(domain)).numpy()
    _refuse_nonsense(expected, f"the {graph.stem} network gives values that are not finite")
    session = open_session(graph)
    parts = [
        session.run(None, {name: inputs[part], "domain": domain[part]})[0] for part in (slice(-1), slice(-1, None))
    ]
    worst = difference(np.concatenate(parts), expected)
    if worst > STYLE_TOLERANCE:
        raise ParityError(
            f"the graph {graph.stem} differs from PyTorch by {worst:.1e} (allowed: {STYLE_TOLERANCE:.0e}): "
            f"{LAST_RESORT}"
        )
    return worst


def _refuse_nonsense(values: Floats, finding: str) -> None:
    if not np.isfinite(values).all():
        raise ParityError(f"{finding}: the training has failed or the file is damaged; export another checkpoint")


def _refuse_constant(translations: NDArray[np.uint8]) -> None:
    if (translations == translations[:, :1, :1]).all(axis=(1, 2, 3)).any():
        raise ParityError(
            "the generator gives one flat colour for a source full of texture: the checkpoint looks untrained or "
            "broken; export another one"
        )
