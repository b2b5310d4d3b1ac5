"""A small data set, and judges whose figures can be worked out by hand: no test here needs a network's weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from starcast.benchmarks.evaluation.judges import Judges
from starcast.benchmarks.options import EvaluateOptions
from starcast.benchmarks.quality import inception

TRAINING, HELD_OUT = 5, 3


class ColourFeatures:
    """The mean and the deviation of each channel of a prepared image."""

    width = 6

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, images):
        self.images += len(images)
        pixels = images.reshape(len(images), 3, -1).astype(np.float64)
        return np.concatenate([pixels.mean(axis=2), pixels.std(axis=2)], axis=1).astype(np.float32)


def mean_squares(outputs):
    """Stands in for LPIPS: the mean squared difference of every pair of outputs, (N, pairs)."""
    values = outputs.double().numpy()
    pairs = list(itertools.combinations(range(len(values)), 2))
    return np.stack([((values[a] - values[b]) ** 2).mean(axis=(1, 2, 3)) for a, b in pairs], axis=1)


@pytest.fixture(autouse=True)
def small_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are prepared at 29 px instead of 299: test_evaluation_oracle covers those."""
    monkeypatch.setattr(inception, "SIDE", 29)


@pytest.fixture
def judges() -> Judges:
    return Judges(ColourFeatures(), mean_squares, {"inception": {"sha256": "colours"}, "alexnet": {"sha256": "none"}})


@pytest.fixture
def make_data(tmp_path: Path) -> Callable[..., Path]:
    """A function (domains, training, held_out, split) -> a folder of images of 40x36, each domain of another colour."""

    def make(
        *domains: str, training: int = TRAINING, held_out: int = HELD_OUT, name: str = "data",
        layout: str = "{domain}/{split}",
    ) -> Path:  # fmt: skip
        draws = np.random.RandomState(5)
        for number, domain in enumerate(domains):
            for split, count in (("train", training), ("val", held_out)):
                folder = tmp_path / name / layout.format(domain=domain, split=split)
                folder.mkdir(parents=True, exist_ok=True)
                for place in range(count):
                    pixels = draws.randint(0, 120, (40, 36, 3)) + 40 * number
                    Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{split}{place:02}.png")
        return tmp_path / name

    return make


@pytest.fixture
def options() -> Callable[..., EvaluateOptions]:
    """A function (**changes) -> options of a short evaluation."""

    def make(**changes) -> EvaluateOptions:
        return EvaluateOptions(
            **{
                "outputs": 2,
                "batch": 2,
                "clean": False,
                "modes": ("latent",),
                "backend": "onnxruntime",
                "device": "cpu",
                **changes,
            }
        )

    return make
