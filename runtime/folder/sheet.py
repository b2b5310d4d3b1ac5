"""A sheet of sources, references and translations side by side, like the official program's reference.jpg.

    white        source 1           source 2           …
    reference 1  1 in its style     2 in its style     …

Without a reference, the style's name stands in its place. The official sheet shows at most 32 images. This one has all;
if they do not fit into one image, further sheets continue it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from starcast.errors import ImageError, OptionError, printable
from starcast.images.fit import NATIVE, fit
from starcast.images.mark import read_mark
from starcast.images.read import read_stored
from starcast.images.white import on_white
from starcast.images.write import LONGEST_SIDES, WRITTEN_SUFFIXES, write_image
from starcast.runtime.bundle import refuse_to_write_into
from starcast.runtime.folder.sources import SourceFile
from starcast.runtime.marks import generated_mark, parse_mark
from starcast.runtime.record import fingerprint
from starcast.runtime.style_requests import StyleRequest

Pixels = NDArray[np.uint8]

LONGEST = LONGEST_SIDES["WEBP"]  # pixels of a side: the least that a format allows
LARGEST = 2**26  # pixels of a sheet: 192 MiB

_MARK = generated_mark(fingerprint({"sheet": "sources, references and translations"}))


def check_sheet(sheet: Path, sources: Sequence[SourceFile], *, overwrite: bool) -> None:
    """Raise OptionError unless a sheet may be written there. A sheet of an earlier run is replaced."""
    if sheet.suffix.lower() not in WRITTEN_SUFFIXES:
        raise OptionError(f"{printable(sheet)} cannot be written: end it in {', '.join(WRITTEN_SUFFIXES)}")
    refuse_to_write_into(sheet)
    if os.path.realpath(sheet) in {os.path.realpath(source.path) for source in sources}:
        raise OptionError(f"{printable(sheet)} is a source and would be overwritten: choose another --sheet")
    _refuse_foreign(sheet, overwrite=overwrite)


def write_sheets(
    sheet: Path,
    sources: Sequence[SourceFile],
    requests: Sequence[StyleRequest],
    paths: Sequence[tuple[Path, ...]],
    size: tuple[int, int],
    how: str,
    *,
    overwrite: bool,
    progress: Callable[[str], None],
) -> list[Path]:
    """Write the sheet, and as many further ones as it takes; returns their paths.

    `paths` lists each source's translations, one per style. `size` (height, width) is a tile's, and `how` says how
    sources are fitted to it. What cannot be read stays white. Raises OptionError if a further sheet would replace
    something else, and ImageError if one cannot be written.
    """
    height, width = size
    columns, rows = tiles_of(len(sources), len(requests), size)
    blocks = [(row, column) for row in range(0, len(requests), rows) for column in range(0, len(sources), columns)]
    targets = [sheet if not number else sheet.with_stem(f"{sheet.stem}-{number + 1}") for number in range(len(blocks))]
    for target in targets:
        _refuse_foreign(target, overwrite=overwrite)
    for target, (row, column) in zip(targets, blocks, strict=True):
        places = range(column, min(column + columns, len(sources)))
        styles = range(row, min(row + rows, len(requests)))
        pixels = np.full(((len(styles) + 1) * height, (len(places) + 1) * width, 3), 255, np.uint8)

        def put(line: int, place: int, tile: Pixels | None, pixels: Pixels = pixels) -> None:
            if tile is not None:
                pixels[line * height : (line + 1) * height, place * width : (place + 1) * width] = tile

        for number, place in enumerate(places, start=1):
            put(0, number, _read(sources[place].path, size, "stretch" if how == NATIVE else how))
        for line, style in enumerate(styles, start=1):
            put(line, 0, _head(requests[style], size))
            for number, place in enumerate(places, start=1):
                put(line, number, _read(paths[place][style], size, "stretch"))
        write_image(target, pixels, mark=_MARK.text)
        progress(f"Sheet: {printable(target)} ({len(places)} images in {len(styles)} styles)")
    return targets


def tiles_of(images: int, styles: int, size: tuple[int, int]) -> tuple[int, int]:
    """How many images and styles fit on one sheet, at least one of each, for tiles of that size (height, width)."""
    height, width = size
    columns = max(1, min(images, LONGEST // width - 1))
    tallest = min(LONGEST, LARGEST // ((columns + 1) * width))
    return columns, max(1, min(styles, tallest // height - 1))


def _head(request: StyleRequest, size: tuple[int, int]) -> Pixels:
    """What stands at the beginning of a style's row: its reference, or its name."""
    tile = None if request.reference is None else _read(request.reference, size, "stretch")
    if tile is not None:
        return tile
    drawn = Image.new("RGB", (size[1], size[0]), (255, 255, 255))
    font = ImageFont.load_default(max(8, size[1] // 10))
    ImageDraw.Draw(drawn).text((2, size[0] // 2), request.label, fill=(0, 0, 0), font=font, anchor="lm")
    return np.asarray(drawn)


def _read(path: Path, size: tuple[int, int], how: str) -> Pixels | None:
    """An image as a tile, on white; None if it cannot be read."""
    try:
        stored = read_stored(path)
    except ImageError:
        return None
    return fit(on_white(stored.pixels), size, how)


def _refuse_foreign(sheet: Path, *, overwrite: bool) -> None:
    if sheet.is_dir():
        raise OptionError(f"{printable(sheet)} is a folder: give --sheet the name of an image")
    if os.path.lexists(sheet) and not overwrite and parse_mark(read_mark(sheet)) != _MARK:
        raise OptionError(f"{printable(sheet)} already exists: give --overwrite, or choose another --sheet")
