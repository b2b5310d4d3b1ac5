"""What a checkpoint's rows make images from: images and a style or, without a source, styles and noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.bench.inputs import SEED, Inputs, held_out_images, training_images
from starcast.benchmarks.bench.rows import Setting
from starcast.export.families import open_model
from starcast.export.families.model import Model
from starcast.export.gate.parity import draw_noise
from starcast.train.checkpoint.content import Checkpoint

COMPARED = 3  # images at least, of each row


def inputs_of(checkpoint: Checkpoint, setting: Setting, data: Path | None) -> Inputs:
    """The inputs of whole batches: images, what the model makes of them, and the style of seed 0 in the first domain;
    without a source, styles and noise of their own for each image."""
    count = setting.batch * -(-COMPARED // setting.batch)
    model = open_model(checkpoint, checkpoint.domain_names)
    if model.stride is None:
        return draw_inputs(model, count)
    images = held_out_images(data_of(checkpoint, data), count, setting.size)
    return Inputs(images, draw_styles(model, 1, np.random.RandomState(0)), model.extras(images))


def calibration_inputs(checkpoint: Checkpoint, count: int, data: Path | None) -> Inputs:
    """The inputs of images to calibrate on: training images and a style for each; without a source, styles and noise
    that are not in `inputs_of`."""
    model = open_model(checkpoint, checkpoint.domain_names)
    if model.stride is None:
        return draw_inputs(model, count, seed=SEED + 1)
    images = training_images(data_of(checkpoint, data), count, (model.side, model.side))
    return Inputs(images, draw_styles(model, count, np.random.RandomState(0)), model.extras(images))


def draw_inputs(model: Model, count: int, seed: int = SEED) -> Inputs:
    """What a model without a source makes `count` images from, drawn from the seed."""
    draws = np.random.RandomState(seed)
    return Inputs(None, draw_styles(model, count, draws), draw_noise(model, count, draws))


def draw_styles(model: Model, count: int, draws: np.random.RandomState) -> NDArray[np.float32]:
    """Styles float32 [count, S] or [count, layers, S], from the domains in turn."""
    domains = max(1, len(model.domains))
    return np.concatenate([model.draw_style(number % domains, draws) for number in range(count)])


def data_of(checkpoint: Checkpoint, data: Path | None) -> Path | None:
    """The given data set, or the checkpoint's."""
    path = (checkpoint.dataset or {}).get("path")
    return data or (Path(path) if path else None)
