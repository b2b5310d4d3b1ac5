"""Sheets of translations for the demo's page."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.demo.page import Picture, png_uri
from starcast.benchmarks.quality.held_out import HeldOut
from starcast.runtime.translator import Translator

Image = NDArray[np.uint8]

ENLARGED = 2  # each pixel of a sheet, so that the pattern survives browsers that smooth
GAP = 4  # pixels between two images
SOURCES = 9  # columns


def draw_sheets(held_out: dict[str, HeldOut], translator: Translator) -> list[Picture]:
    """Held-out sources, translated by latents and by references."""
    return [
        Picture(
            heading="Translated by latent",
            caption="First row: held-out sources. Below: each translated to every domain, one seed a row.",
            uri=png_uri(latent_sheet(held_out, translator)),
        ),
        Picture(
            heading="Translated by reference",
            caption="First row: sources. Each row below takes its domain and style from the image at its left.",
            uri=png_uri(reference_sheet(held_out, translator)),
        ),
    ]


def latent_sheet(held_out: dict[str, HeldOut], translator: Translator, seeds: tuple[int, ...] = (0, 1)) -> Image:
    """Rows: sources, then each domain with each seed; uint8 [H, W, 3]."""
    sources = _mixed(held_out, SOURCES)
    rows = [sources]
    for domain in held_out:
        rows += [translator(sources, translator.style(domain=domain, seed=seed)) for seed in seeds]
    return _sheet(rows)


def reference_sheet(held_out: dict[str, HeldOut], translator: Translator, each: int = 2) -> Image:
    """Rows: a blank and the sources, then a reference and every source in its style; uint8 [H, W, 3]."""
    sources = _mixed(held_out, SOURCES - 1)
    rows = [np.concatenate([np.full_like(sources[:1], 255), sources])]
    for domain, real in held_out.items():
        for reference in real.images[-each:]:
            translated = translator(sources, translator.style(domain=domain, reference=reference))
            rows.append(np.concatenate([reference[None], translated]))
    return _sheet(rows)


def _mixed(held_out: dict[str, HeldOut], count: int) -> Image:
    """The first held-out images, the domains in turn."""
    columns = [real.images for real in held_out.values()]
    return np.stack([columns[index % len(columns)][index // len(columns)] for index in range(count)])


def _sheet(rows: list[Image]) -> Image:
    """Rows of images of one size, laid out on white."""
    height, width = rows[0].shape[1:3]
    sheet = np.full((len(rows) * (height + GAP) - GAP, len(rows[0]) * (width + GAP) - GAP, 3), 255, np.uint8)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            top, left = row * (height + GAP), column * (width + GAP)
            sheet[top : top + height, left : left + width] = image
    return sheet.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
