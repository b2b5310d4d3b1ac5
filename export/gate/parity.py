"""Parity: a written float32 graph is run by its engine and compared with PyTorch; a graph that differs is not shipped.

Differences are max |a - b| / max(1, |b|), where b is PyTorch's float32 value in the network's own units (images in
-1..1). A frame graph is compared twice: its bytes, and its values before the last Round.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from starcast.errors import ParityError
from starcast.export.families.model import Model, StyleGraph
from starcast.export.gate.candidates import (
    Candidate,
    Floats,
    Trial,
    difference,
    open_session,
    source_trial,
    translate_with_torch,
)
from starcast.export.gate.images import draw_flat, draw_images
from starcast.export.gate.reference import as_bytes, from_levels
from starcast.runtime.variants import Parity

TOLERANCE = 2e-4  # for translations before the last Round
LEVELS = 1  # for their bytes
STYLE_TOLERANCE = 1e-4
LAST_RESORT = "nothing is written; please report this with what `starcast doctor` says"


class DifferenceError(ParityError):
    """A graph whose numbers differ from PyTorch's in an engine; `clause` says where, without advice."""

    def __init__(self, clause: str) -> None:
        super().__init__(f"{clause}: {LAST_RESORT}")
        self.clause = clause


def make_trials(model: Model) -> list[Trial]:
    """Batches of 1, 2, 5, and 3 with one shared style; the last two have another size, which is not square.

    Without a source: batches of 1, 2 and 3, with the constant noise, with noise drawn for each image, and without.
    """
    if model.stride is None:
        return _sourceless_trials(model)
    side, stride = model.side, model.stride
    styles = model.gate_styles(9)
    return [
        source_trial(model, draw_images(1, side, side, seed=1), styles[:1]),
        source_trial(model, draw_images(2, side, side, seed=2), styles[1:3]),
        source_trial(model, draw_images(5, 8 * stride, 12 * stride, seed=3), styles[3:8]),
        source_trial(model, draw_images(3, 8 * stride, 12 * stride, seed=4), styles[8:]),
    ]


def _sourceless_trials(model: Model) -> list[Trial]:
    styles = model.gate_styles(6)
    none = {name: np.zeros_like(constant) for name, constant in model.noise.items()}
    return [
        Trial(None, styles[:1], model.noise),
        Trial(None, styles[1:3], draw_noise(model, 2, np.random.RandomState(2))),
        Trial(None, styles[3:], none),
    ]


def draw_noise(model: Model, count: int, draws: np.random.RandomState) -> dict[str, Floats]:
    """Noise [count, 1, h, w] by input, drawn for each image."""
    return {
        name: draws.standard_normal((count, *constant.shape[1:])).astype(np.float32)
        for name, constant in model.noise.items()
    }


def flat_trials(model: Model) -> list[Trial]:
    """Images mostly of one colour, one at a time; none for a model without a source. See images.py."""
    if model.stride is None:
        return []
    style = model.gate_styles(2)[:1]
    return [source_trial(model, image[None], style) for image in draw_flat(model.side, model.side)]


def levels_apart(translations: Sequence[NDArray[np.uint8]], expected: Sequence[NDArray[Any]]) -> list[int]:
    """How far each translation's bytes are from PyTorch's, [1, C, H, W] in -1..1, in grey levels at most."""
    return [
        int(np.abs(got.astype(int) - as_bytes(wanted).astype(int)).max())
        for got, wanted in zip(translations, expected, strict=True)
    ]


class FlatImages:
    """Images mostly of one colour, with their translations by PyTorch, [1, C, H, W] in -1..1 each."""

    def __init__(self, model: Model) -> None:
        self.trials = flat_trials(model)
        self.expected = [translate_with_torch(model.reference, trial) for trial in self.trials]
        self._network = model.reference

    @cached_property
    def exact(self) -> list[NDArray[np.float64]]:
        """The translations in float64, made on first use: most variants need no comparison with them."""
        network = copy.deepcopy(self._network).double()
        with torch.inference_mode():
            return [network(*(tensor.double() for tensor in trial.tensors)).numpy() for trial in self.trials]


def expected_translations(generator: Callable[..., torch.Tensor], trials: Sequence[Trial]) -> list[Floats]:
    """PyTorch's translations of the trials, [N, C, H, W] in -1..1 each. Raises ParityError if they are not finite."""
    expected = [translate_with_torch(generator, trial) for trial in trials]
    for translations in expected:
        _refuse_nonsense(translations, "the generator gives values that are not finite")
    return expected


def check_flat(name: str, translations: Sequence[NDArray[np.uint8]], flat: FlatImages) -> int:
    """How far a variant's translations of flat images are from PyTorch's, in grey levels at most. Raises ParityError,
    with the variant's `name`, if that is too far.

    PyTorch rounds, too. So a variant may also be as far from float64 as PyTorch's float32 is.
    """
    too_far = levels_too_far(translations, flat)
    if too_far:
        raise DifferenceError(
            f"the generator's graph {name} differs from PyTorch by {too_far} grey levels on an image that is mostly "
            f"of one colour (allowed: {LEVELS})"
        )
    return max(levels_apart(translations, flat.expected))


def levels_too_far(translations: Sequence[NDArray[np.uint8]], flat: FlatImages) -> int:
    """The most grey levels of a translation that `check_flat` refuses; 0 if it refuses none."""
    levels = levels_apart(translations, flat.expected)
    if max(levels) <= LEVELS:
        return 0
    own = levels_apart([as_bytes(image) for image in flat.expected], flat.exact)
    exact = levels_apart(translations, flat.exact)
    return max(
        apart if min(apart, apart_from_exact) > max(LEVELS, allowed) else 0
        for apart, apart_from_exact, allowed in zip(levels, exact, own, strict=True)
    )


def check_generator(
    candidate: Candidate, name: str, trials: Sequence[Trial], expected: Sequence[Floats], blame: Callable[[Trial], str]
) -> Parity:
    """Compare a variant called `name` with PyTorch on the trials.

    Raises ParityError if it differs, naming what `blame` finds, or if its translations are of one colour.
    """
    worst, levels = 0.0, 0
    for trial, translations in zip(trials, expected, strict=True):
        levels_given = candidate.translate(trial)
        unrounded = from_levels(candidate.translate_unrounded(trial).astype(np.float64))
        worst = max(worst, difference(unrounded, translations))
        levels = max(levels, int(np.abs(levels_given.astype(int) - as_bytes(translations).astype(int)).max()))
        if worst > TOLERANCE or levels > LEVELS:
            raise DifferenceError(
                f"the generator's graph {name} differs from PyTorch by {worst:.1e} and {levels} grey levels (allowed: "
                f"{TOLERANCE:.0e} and {LEVELS}), first at {blame(trial)}"
            )
        _refuse_constant(levels_given, "a source full of texture" if trial.sources is not None else "a random style")
    batches = tuple(trial.batch for trial in trials)
    return Parity(worst=worst, tolerance=TOLERANCE, levels=levels, images=sum(batches), batches=batches)


def check_style_graph(path: Path, graph: StyleGraph) -> float:
    """The largest difference of a style graph's values from PyTorch's, over every domain and two batches.

    Runs all of the graph's trials but the last in one batch, then the last alone. A graph with a threshold is compared
    with the nearest value that PyTorch gives with the threshold as it is or moved by rounding (`StyleGraph.nearby`).
    Raises ParityError.
    """
    trials = {name: np.asarray(array) for name, array in graph.trials.items()}
    with torch.inference_mode():
        tensors = {name: torch.from_numpy(array) for name, array in trials.items()}
        allowed = np.stack([network(**tensors).numpy() for network in (graph.reference, *graph.nearby)])
    _refuse_nonsense(allowed, f"the {path.stem} network gives values that are not finite")
    session = open_session(path)
    parts = [
        session.run(None, {name: array[part] for name, array in trials.items()})[0]
        for part in (slice(-1), slice(-1, None))
    ]
    got = np.concatenate(parts)
    worst = difference(got, np.clip(np.nan_to_num(got), allowed.min(axis=0), allowed.max(axis=0)))
    if worst > STYLE_TOLERANCE:
        raise ParityError(
            f"the graph {path.stem} differs from PyTorch by {worst:.1e} (allowed: {STYLE_TOLERANCE:.0e}): {LAST_RESORT}"
        )
    return worst


def _refuse_nonsense(values: Floats, finding: str) -> None:
    if not np.isfinite(values).all():
        raise ParityError(f"{finding}: the training has failed or the file is damaged; export another checkpoint")


def _refuse_constant(translations: NDArray[np.uint8], given: str) -> None:
    if (translations == translations[:, :1, :1]).all(axis=(1, 2, 3)).any():
        raise ParityError(
            f"the generator gives one flat colour for {given}: the checkpoint looks untrained or broken; export "
            "another one"
        )
