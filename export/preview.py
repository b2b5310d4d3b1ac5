"""preview.jpg, made by the traced graph: a few sources and their translations to every domain, or generated images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from starcast.errors import DatasetError, ImageError
from starcast.export.gate.candidates import Floats, open_session
from starcast.export.gate.images import draw_smooth
from starcast.images.fit import fit
from starcast.images.read import read_image
from starcast.images.white import on_white
from starcast.train.data.folders import scan

SOURCES, MOST_DOMAINS, COLUMNS = 2, 4, 4
TILE, GAP = 128, 4


def draw_preview(
    frame: ir.Model,
    sources: NDArray[np.uint8],
    styles: Floats,
    extras: Callable[[NDArray[np.uint8]], Mapping[str, Floats]] = lambda sources: {},
) -> NDArray[np.uint8]:
    """One row per source: the source, then its translation to each style [D, S]. uint8 [H, W, 3].

    `extras` makes the graph's extra inputs of sources.
    """
    session = open_session(frame)
    rows = []
    for source in sources:
        given = {"image": source[None], **extras(source[None])}
        feeds = [{**given, "style": style[None]} for style in styles[:MOST_DOMAINS]]
        rows.append([source, *(session.run(None, feed)[0][0] for feed in feeds)])
    return _grid([[fit(tile, (TILE, TILE)) for tile in row] for row in rows])


def draw_generated(frame: ir.Model, styles: Floats, noise: Mapping[str, Floats]) -> NDArray[np.uint8]:
    """An image for each style [N, layers, S], COLUMNS in a row. uint8 [H, W, 3]."""
    session = open_session(frame)
    tiles = [fit(on_white(session.run(None, {"style": style[None], **noise})[0][0]), (TILE, TILE)) for style in styles]
    return _grid([tiles[start : start + COLUMNS] for start in range(0, len(tiles), COLUMNS)])


def preview_sources(data: str | None, side: int) -> NDArray[np.uint8]:
    """Held-out images of the data set if it still exists, topped up with drawn images.

    uint8 [SOURCES, side, side, 3].
    """
    images = _from_data_set(Path(data), side) if data else []
    draws = np.random.RandomState(11)
    drawn = [draw_smooth(side, side, draws) for _ in range(SOURCES - len(images))]
    return np.stack([*images, *drawn])


def _from_data_set(data: Path, side: int) -> list[NDArray[np.uint8]]:
    try:
        domains = scan(data).domains
    except (DatasetError, OSError):
        return []  # moved or deleted since training; a preview is not worth failing for
    images = []
    for domain in domains[:SOURCES]:
        for path in (domain.held_out or domain.training)[:1]:
            try:
                images.append(fit(read_image(path), (side, side)))
            except ImageError:
                continue
    return images


def _grid(rows: list[list[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    height, width = len(rows) * (TILE + GAP) + GAP, len(rows[0]) * (TILE + GAP) + GAP
    grid = np.full((height, width, 3), 255, dtype=np.uint8)
    for down, row in enumerate(rows):
        for right, tile in enumerate(row):
            top, left = GAP + down * (TILE + GAP), GAP + right * (TILE + GAP)
            grid[top : top + TILE, left : left + TILE] = tile
    return grid
