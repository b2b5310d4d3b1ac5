"""Images drawn by arithmetic, for the gate and for previews, so that no photograph is needed.

The images that rewrites are judged by have texture. On a flat image, instance norm divides rounding noise by a variance
near zero, and sums of equal numbers are rounded the same way each time. That says nothing about a rewrite, but much
about how an engine sums, so flat images are compared separately: frames have black bars, and videos fade to black.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def draw_textured(height: int, width: int, draws: np.random.RandomState) -> Image:
    """Grains of two sizes, every level from 0 to 255: uint8 [height, width, 3]."""
    coarse = draws.randint(0, 256, (height // 4 + 1, width // 4 + 1, 3))
    grains = coarse.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]
    fine = draws.randint(0, 256, (height, width, 3))
    return np.where(draws.rand(height, width, 1) < 0.5, grains, fine).astype(np.uint8)


def draw_smooth(height: int, width: int, draws: np.random.RandomState) -> Image:
    """Slow waves of colour, without edges."""
    y = np.linspace(0, 1, height)[:, None, None]
    x = np.linspace(0, 1, width)[None, :, None]
    frequency, phase = draws.uniform(0.5, 2.5, (2, 3)), draws.uniform(0, 1, (2, 3))
    waves = np.sin(2 * np.pi * (frequency[0] * y + phase[0])) + np.sin(2 * np.pi * (frequency[1] * x + phase[1]))
    image: Image = np.rint(127.5 + 63 * waves).astype(np.uint8)
    return image


def draw_edged(height: int, width: int, draws: np.random.RandomState) -> Image:
    """Grainy black and white with hard edges: a checkerboard of uneven fields, and a disc."""
    rows = np.cumsum(draws.rand(height) < 8 / height)
    columns = np.cumsum(draws.rand(width) < 8 / width)
    y, x = np.ogrid[0:height, 0:width]
    disc = (y - height * draws.uniform(0.3, 0.7)) ** 2 + (x - width * draws.uniform(0.3, 0.7)) ** 2 < (height / 5) ** 2
    white = ((rows[:, None] + columns[None, :]) % 2 == 1) ^ disc
    grain = draws.randint(0, 25, (height, width, 3))
    return np.where(white[..., None], 255 - grain, grain).astype(np.uint8)


def draw_flat(height: int, width: int) -> Image:
    """Images of one colour, and mostly of one colour: uint8 [8, height, width, 3].

    Black, white, grey and red; black and white fields; a band between black bars, an object on white, a line on black.
    """
    colours = np.array([[0, 0, 0], [255, 255, 255], [128, 128, 128], [200, 30, 40]], np.uint8)
    one_colour = np.broadcast_to(colours[:, None, None], (4, height, width, 3))
    fields, bars, line = np.zeros((3, height, width, 3), np.uint8)
    fields[: height // 3] = fields[:, : width // 4] = 255
    texture = draw_textured(height, width, np.random.RandomState(5))
    band, rows, columns = (slice(2 * height // 5, 3 * height // 5), slice(3 * height // 8, 5 * height // 8),
                           slice(3 * width // 8, 5 * width // 8))  # fmt: skip
    bars[band] = texture[band]
    object_on_white = np.full((height, width, 3), 255, np.uint8)
    object_on_white[rows, columns] = texture[rows, columns]
    line[height // 3 : height // 3 + max(1, height // 85), width // 4 : width // 2] = 255
    return np.concatenate([one_colour, np.stack([fields, bars, object_on_white, line])])


KINDS: tuple[Callable[[int, int, np.random.RandomState], Image], ...] = (draw_textured, draw_smooth, draw_edged)


def draw_images(count: int, height: int, width: int, seed: int) -> Image:
    """uint8 [count, height, width, 3] RGB: textured, smooth and edged images in turn."""
    draws = np.random.RandomState(seed)
    return np.stack([KINDS[number % len(KINDS)](height, width, draws) for number in range(count)])
