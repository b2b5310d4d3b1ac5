"""The small networks' frame graphs, and pictures made by arithmetic to quantise them with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch

from starcast.export.comparison import Trial
from starcast.export.passes.forms import apply_form
from starcast.export.pictures import pictures
from starcast.export.precision.samples import CalibrationSet

ONE = {"batch": 1, "styles": 1, "height": 32, "width": 32}


@pytest.fixture(scope="session")
def rewritten(small) -> Callable[[str], ir.Model]:
    """A function form -> frame graph."""

    def rewrite(form: str) -> ir.Model:
        model = ir.load(small.generator)
        apply_form(model, form)
        return model

    return rewrite


@pytest.fixture(scope="session")
def drawn(small) -> CalibrationSet:
    """Textures, waves and edges with styles of every domain."""
    draws = np.random.RandomState(0)

    def trials(count: int, seed: int, domain: int | None = None) -> tuple[Trial, ...]:
        images = pictures(count, 32, 32, seed)
        latents = torch.from_numpy(draws.standard_normal((count, small.config.latent_dim)).astype(np.float32))
        domains = torch.tensor([number % 3 if domain is None else domain for number in range(count)])
        with torch.inference_mode():
            styles = small.networks.mapping_network(latents, domains).numpy()
        return tuple(Trial(images[k : k + 1], styles[k : k + 1]) for k in range(count))

    gate = {name: trials(3, 30 + number, number) for number, name in enumerate(("ink", "photo", "chalk"))}
    return CalibrationSet(trials(12, seed=10), trials(6, seed=20), gate)


@pytest.fixture(scope="session")
def one_picture() -> dict[str, int]:
    """The sizes of the small graph's dimensions."""
    return ONE
