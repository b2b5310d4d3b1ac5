"""Sample grids of several checkpoints and of their average, side by side, each under its name."""

from __future__ import annotations

import glob
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from starcast.errors import DatasetError, printable
from starcast.images.mark import read_mark
from starcast.images.write import LONGEST_SIDES, write_image
from starcast.options import from_flat, from_json
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.data.folders import DataSet, in_words
from starcast.train.families import family, options_class
from starcast.train.options import TrainOptions, shape_names

Pixels = NDArray[np.uint8]  # (H, W, 3)

CAPTION = 24  # pixels above each grid
GAP = 12  # pixels between grids
WIDEST = 12_000  # of a sheet; more grids go below
MARK = "starcast average: "  # in a sheet's metadata, before its kind


def grid_inputs(checkpoint: Checkpoint, data: Path) -> Any:
    """The images and styles of the sample grids, from a folder with the checkpoint's domains.

    Raises DatasetError, OptionError and CheckpointError if it is not one.
    """
    kind, options = family(checkpoint.family), _options_of(checkpoint)
    data_set: DataSet = kind.scan(data, options)
    if len(data_set.names) != len(checkpoint.domain_names):
        raise DatasetError(
            f"{printable(data)} has the domains {in_words(data_set.names)}, and {printable(checkpoint.path)} has "
            f"{len(checkpoint.domain_names)}: give the folder that it was trained on"
        )
    return kind.sample_inputs(data_set, options)


def known_data(checkpoint: Checkpoint) -> Path | None:
    """The folder of images that a checkpoint was trained on, if it is still there."""
    place = (checkpoint.dataset or {}).get("path")
    return Path(place) if isinstance(place, str) and Path(place).is_dir() else None


def grids_of(checkpoint: Checkpoint, networks: Any, inputs: Any) -> dict[str, Pixels]:
    """The sample grids of averaged networks by kind; of kinds that are equal, the first."""
    grids: dict[str, torch.Tensor] = family(checkpoint.family).sample_grids(networks, networks, inputs)
    distinct: dict[str, torch.Tensor] = {}
    for name, grid in grids.items():
        if not any(torch.equal(grid, other) for other in distinct.values()):
            distinct[name] = grid
    return {name: grid.permute(1, 2, 0).numpy() for name, grid in distinct.items()}


def side_by_side(grids: Mapping[str, Pixels]) -> Image.Image:
    """One sheet of equally large grids, each below its caption, in rows that are no wider than WIDEST."""
    height, width, _ = next(iter(grids.values())).shape
    columns = min(len(grids), max(1, WIDEST // (width + GAP)))
    rows = -(-len(grids) // columns)
    sheet = Image.new("RGB", (columns * (width + GAP) - GAP, rows * (CAPTION + height + GAP) - GAP), (255, 255, 255))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(CAPTION * 2 // 3)
    for number, (caption, grid) in enumerate(grids.items()):
        left, top = number % columns * (width + GAP), number // columns * (CAPTION + height + GAP)
        draw.text((left + 2, top + 2), caption, fill=(0, 0, 0), font=font)
        sheet.paste(Image.fromarray(grid), (left, top + CAPTION))
    return sheet


def write_sheets(target: Path, grids: Mapping[str, Mapping[str, Pixels]]) -> list[Path]:
    """Write a sheet for each kind beside `target`: average.pt -> average-reference.jpg. `grids` are by caption."""
    written = []
    for kind in next(iter(grids.values())):
        sheet = side_by_side({caption: by_kind[kind] for caption, by_kind in grids.items()})
        longest = LONGEST_SIDES["JPEG"]
        if max(sheet.size) > longest:
            sheet.thumbnail((longest, longest))
        path = target.with_name(f"{target.stem}-{kind}.jpg")
        write_image(path, sheet, mark=MARK + kind)
        written.append(path)
    return written


def remove_sheets(target: Path, kept: Container[Path]) -> list[Path]:
    """Remove the sheets that `write_sheets` left beside an earlier `target`, except those kept; returns their paths.

    Other images that are called like sheets stay, and those of other averages, such as of average-2.pt.
    """
    start = f"{target.stem}-"
    called = [path for path in sorted(target.parent.glob(f"{glob.escape(start)}*.jpg")) if path not in kept]
    old = [path for path in called if read_mark(path) == MARK + path.stem.removeprefix(start)]
    for path in old:
        path.unlink()
    return old


def _options_of(checkpoint: Checkpoint) -> TrainOptions:
    """The options of the checkpoint's training; of a file without them, the defaults for its sizes."""
    kind = options_class(checkpoint.family)
    if checkpoint.options is not None:
        return from_json(kind, checkpoint.options, printable(checkpoint.path))
    sizes = {name: value for name, value in vars(checkpoint.config).items() if name in shape_names(kind)}
    return from_flat(kind, sizes)
