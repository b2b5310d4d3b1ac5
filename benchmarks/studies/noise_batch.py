"""A training batch of noise, as a family's training takes it: content does not change how long a step takes."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from starcast.images.write import write_image
from starcast.train.data.batch import TensorBatch
from starcast.train.data.folders import scan
from starcast.train.families import family
from starcast.train.options import TrainOptions

IMAGES = 4  # of each domain


def draw_batch(options: TrainOptions, domains: int) -> TensorBatch:
    """The first batch of a run on noise, its images uint8."""
    size, draws = options.network.image_size, np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        for domain in range(domains):
            place = Path(folder) / f"domain-{domain}"
            place.mkdir()
            for number in range(IMAGES):
                write_image(place / f"{number}.png", draws.integers(0, 256, (size, size, 3), np.uint8))
        drawn = family(options.family).batches(scan(Path(folder)), options, workers=0)[0]
    assert drawn.batch is not None, drawn.failure
    return drawn.batch
