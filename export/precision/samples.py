"""The images that variants are calibrated on and judged by: some for ranges, others for the search and for the gate.

They come from the user's folder or from the training set. The gate prefers images that training has not seen. Without a
folder or training set, precisions that need no search can use drawn images. Each domain's styles come from latents and
references in turn.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starcast.errors import DatasetError, ImageError, OptionError
from starcast.export.families.model import Model
from starcast.export.gate.candidates import Floats, Trial, source_trial
from starcast.export.gate.images import draw_images
from starcast.export.gate.parity import draw_noise
from starcast.images.fit import fit
from starcast.images.read import read_image
from starcast.train.data.folders import is_image, scan

RANGES, SEARCH, GATE = 64, 16, 16  # images for each; the gate's are translated into every domain
FEWEST = 12  # images in a folder: two for the search, two for the gate, eight for ranges
DRAWN_RANGES, DRAWN_GATE = 12, 6  # there are three kinds of drawn images; more of one kind would show nothing more


@dataclass(frozen=True)
class CalibrationSet:
    """One image and one style per trial; no image serves two purposes. Trials for ranges and for the search cycle
    through the gate's domains, starting with the first."""

    ranges: tuple[Trial, ...]
    search: tuple[Trial, ...]
    gate: Mapping[str, tuple[Trial, ...]]  # by target domain


@dataclass(frozen=True)
class _Paths:
    """Paths in a seeded order; `references` by domain, or empty unless the folder has every domain."""

    training: tuple[Path, ...]
    held_out: tuple[Path, ...]
    references: tuple[tuple[Path, ...], ...]


def choose_images(
    model: Model, folder: Path | None, remembered: str | None, progress: Callable[[str], None], *, required: bool
) -> CalibrationSet:
    """Images for calibration and for the gate, as `calibration_set` finds them.

    If there are none, falls back to drawn images and shows that as progress. Raises OptionError instead if real ones
    are `required` or a folder was named. A model without a source needs none: its trials are drawn styles and noise.
    """
    if model.stride is None:
        return generated_set(model)
    try:
        return calibration_set(model, folder, remembered)
    except OptionError as error:
        if required or folder is not None:
            raise
        progress(f"calibrating on drawn images: {error}")
        return drawn_set(model)


def calibration_set(model: Model, folder: Path | None, remembered: str | None, seed: int = 0) -> CalibrationSet:
    """Choose images from `folder` (--calibrate), else from the training set, whose path the checkpoint `remembered`.

    A folder has a subfolder of images for each domain, or just images. References are used if the subfolders have the
    domains' names. Raises OptionError if there is no folder, or if it has too few images.
    """
    place = folder if folder is not None else _training_set(remembered)
    draws = np.random.RandomState(seed)
    domains, side = model.domains, model.side
    paths = _find_images(place, domains, draws)
    gate = _read(paths.held_out, GATE, side)
    wanted = (GATE - len(gate), SEARCH, RANGES)
    others = _read(paths.training, sum(wanted), side)
    if len(others) < FEWEST:
        raise OptionError(
            f"{place} has {len(others)} readable images, too few to calibrate on: give --calibrate a "
            f"folder with at least {FEWEST}, better {sum(wanted)}"
        )
    for_gate, for_search = _shares(len(others), wanted)
    gate += others[:for_gate]
    search, ranges = others[for_gate:][:for_search], others[for_gate + for_search :]
    style = _Styles(model, paths.references, draws)
    count = len(domains)
    return CalibrationSet(
        ranges=tuple(source_trial(model, image[None], style(place % count)) for place, image in enumerate(ranges)),
        search=tuple(source_trial(model, image[None], style(place % count)) for place, image in enumerate(search)),
        gate=_gate(model, gate, style),
    )


def drawn_set(model: Model, seed: int = 0) -> CalibrationSet:
    """Drawn images for ranges and for the gate; none for a search, which they would mislead."""
    side, count = model.side, len(model.domains)
    style = _Styles(model, (), np.random.RandomState(seed))
    ranges, gate = draw_images(DRAWN_RANGES, side, side, seed=11), draw_images(DRAWN_GATE, side, side, seed=12)
    return CalibrationSet(
        ranges=tuple(source_trial(model, image[None], style(place % count)) for place, image in enumerate(ranges)),
        search=(),
        gate=_gate(model, list(gate), style),
    )


def generated_set(model: Model, seed: int = 0) -> CalibrationSet:
    """Styles and noise of a model without a source, as users ask for them; the gate's go under the name `images`.

    Every third style is mixed from two, at a layer that is drawn. In turn, noise is drawn, constant, drawn, and zero.
    """
    draws = np.random.RandomState(seed)

    def trial(number: int) -> Trial:
        styles, noise = model.draw_style(0, draws), draw_noise(model, 1, draws)
        if number % 3 == 2:
            cutoff = draws.randint(1, styles.shape[1])
            styles = np.concatenate([styles[:, :cutoff], model.draw_style(0, draws)[:, cutoff:]], axis=1)
        if number % 4 == 1:
            noise = dict(model.noise)
        elif number % 4 == 3:
            noise = {name: np.zeros_like(plane) for name, plane in noise.items()}
        return Trial(None, styles, noise)

    def trials(count: int) -> tuple[Trial, ...]:
        return tuple(map(trial, range(count)))

    return CalibrationSet(ranges=trials(RANGES), search=trials(SEARCH), gate={"images": trials(GATE)})


def _gate(model: Model, images: Sequence[NDArray[np.uint8]], style: _Styles) -> dict[str, tuple[Trial, ...]]:
    """The images with a style of each domain, by the domain's name."""
    extras = [model.extras(image[None]) for image in images]
    return {
        name: tuple(Trial(image[None], style(domain), extra) for image, extra in zip(images, extras, strict=True))
        for domain, name in enumerate(model.domains)
    }


class _Styles:
    """Maps a domain's number to a style, float32 [1, S], from a latent and a reference in turn."""

    def __init__(
        self, model: Model, references: tuple[tuple[Path, ...], ...], draws: np.random.RandomState
    ) -> None:  # fmt: skip
        self._model, self._references, self._draws = model, references, draws
        self._made: Counter[int] = Counter()

    def __call__(self, domain: int) -> Floats:
        self._made[domain] += 1
        images = self._reference(domain) if self._made[domain] % 2 == 0 else []
        style = self._model.reference_style(domain, images[0]) if images else None
        return self._model.draw_style(domain, self._draws) if style is None else style

    def _reference(self, domain: int) -> list[NDArray[np.uint8]]:
        paths = self._references[domain] if self._references else ()
        start = self._draws.randint(len(paths)) if paths else 0
        return _read((*paths[start:], *paths[:start]), 1, self._model.side)


def _training_set(path: str | None) -> Path:
    if path is None or not Path(path).is_dir():
        gone = "the checkpoint names no training set" if path is None else f"the training set {path} is gone"
        raise OptionError(f"there are no images to calibrate on, as {gone}: give a folder of them with --calibrate DIR")
    return Path(path)


def _find_images(place: Path, domains: Sequence[str], draws: np.random.RandomState) -> _Paths:
    """The images of a folder that has a subfolder for each domain, or just images."""
    if not place.is_dir():
        raise OptionError(f"--calibrate {place} is not a folder: give a folder of images")
    alone = [path for path in sorted(place.iterdir()) if is_image(path)]
    try:
        scanned = scan(place).domains
    except DatasetError:
        scanned = ()
    by_name = {domain.name: domain.held_out or domain.training for domain in scanned}
    known = all(by_name.get(name) for name in domains)
    references = tuple(_shuffle(by_name[name], draws) for name in domains) if known else ()
    return _Paths(
        training=_shuffle([*alone, *(path for domain in scanned for path in domain.training)], draws),
        held_out=_shuffle([path for domain in scanned for path in domain.held_out], draws),
        references=references,
    )


def _shuffle(paths: Sequence[Path], draws: np.random.RandomState) -> tuple[Path, ...]:
    return tuple(paths[index] for index in draws.permutation(len(paths)))


def _read(paths: Sequence[Path], count: int, side: int) -> list[NDArray[np.uint8]]:
    """The first `count` images that can be read, uint8 [side, side, 3]."""
    images: list[NDArray[np.uint8]] = []
    for path in paths:
        if len(images) == count:
            break
        try:
            images.append(fit(read_image(path), (side, side)))
        except ImageError:
            continue  # a damaged file among thousands is no reason to stop
    return images


def _shares(count: int, wanted: tuple[int, int, int]) -> tuple[int, int]:
    """How many of `count` images go to the gate and to the search; ranges get the rest. Too few images are divided in
    the same proportions."""
    part = min(1.0, count / sum(wanted))
    return math.ceil(wanted[0] * part), math.ceil(wanted[1] * part)
