"""The files that `generate` writes, single images and grids: which are missing, and which are in the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from starcast.errors import OptionError, printable
from starcast.images.read import LARGE_PIXELS, MAX_PIXELS
from starcast.images.write import as_pillow, why_too_large
from starcast.runtime.folder.outputs import State
from starcast.runtime.folder.places import AHEAD, LOOKERS, Places
from starcast.runtime.generate.images import MEAN, ImageSpec, chunks
from starcast.runtime.generate.options import GenerateOptions
from starcast.runtime.manifest import Output as ImageKind
from starcast.runtime.record import fingerprint
from starcast.runtime.stages import map_ahead, open_pool

GRID = "grid"
# Pillow's mode and the empty places' colour, by the number of channels
_EMPTY: dict[int, tuple[str, int | tuple[int, ...]]] = {
    1: ("L", 255),
    3: ("RGB", (255, 255, 255)),
    4: ("RGBA", (255, 255, 255, 0)),
}


@dataclass(frozen=True)
class OutputFile:
    """A file to write: one image, or a grid of several. `settings`: what its mark holds. `size`: (height, width).
    `is_free`: nothing was at its path, so a file that appears there meanwhile is not replaced."""

    path: Path
    specs: tuple[ImageSpec, ...]
    columns: int
    settings: str
    size: tuple[int, int]
    is_free: bool = True


@dataclass(frozen=True)
class Plan:
    """`missing` files are to be written, `done` counts those that are there, `failed` has a sentence for each place
    that cannot be written to."""

    missing: list[OutputFile]
    done: int
    failed: list[str]


def list_outputs(
    specs: Sequence[ImageSpec],
    options: GenerateOptions,
    kind: ImageKind,
    settings_of: Callable[[ImageSpec], dict[str, Any]],
    *,
    target: Path | None,
    has_mean: bool,
) -> list[OutputFile]:
    """The files to write: `target` alone, or those in the folder `options.output`. `settings_of` says how an image is
    made. Raises OptionError."""
    folder, suffix = options.output or Path(), f".{options.format}"
    outputs = []

    def add(name: str, parts: Sequence[ImageSpec], columns: int = 1) -> None:
        path = folder / f"{name}{suffix}" if target is None else target
        size = kind.height * math.ceil(len(parts) / columns), kind.width * columns
        facts: dict[str, Any] = {"images": [settings_of(part) for part in parts]}
        if name.startswith(GRID):
            facts["columns"] = columns
        _check_size(path, size)
        outputs.append(OutputFile(path, tuple(parts), columns, fingerprint(facts), size))

    if has_mean and target is None:
        add(MEAN.name, [MEAN])
    if options.grid_shape is not None:
        columns, rows = options.grid_shape
        grids = list(chunks(specs, columns * rows))
        for number, parts in enumerate(grids, 1):
            add(GRID if len(grids) == 1 else f"{GRID}{number}", parts, min(columns, len(specs)))
    if options.grid_shape is None or options.each:
        for spec in specs:
            add(spec.name, [spec])
    if target is not None and len(outputs) > 1:
        if options.grid_shape is None:
            remedy = "give --grid"
        else:
            remedy = "leave out --each" if options.each else "give a larger --grid"
        raise OptionError(
            f"{printable(target)} is one file, but {len(outputs)} would be written: {remedy}, or give a folder as -o"
        )
    return outputs


def plan_outputs(outputs: Sequence[OutputFile], *, overwrite: bool, since_ns: int | None) -> Plan:
    """Which files are missing. Raises OptionError if anything is in the way that was not made with these settings. With
    `overwrite` everything is replaced, except files written since `since_ns`, when the interrupted run began that this
    one continues."""

    places = Places(overwrite=overwrite, since_ns=since_ns)

    def look(output: OutputFile) -> State:
        return places.look(output.path, output.settings, None, output.size)

    with open_pool(LOOKERS) as workers:
        states = map_ahead(workers, look, outputs, ahead=AHEAD)
        missing = [
            replace(output, is_free=places.is_free(state))
            for output, state in zip(outputs, states, strict=True)
            if places.sort(output.path, state)
        ]
    places.refuse("bundle, seeds or options")
    return Plan(missing, places.done, places.failed)


class Sheet:
    """A grid while its images are made, held as Pillow holds it, so that writing makes no second copy. Places that stay
    empty are white; in RGBA they are transparent."""

    def __init__(self, output: OutputFile, channels: int) -> None:
        height, width = output.size
        self._columns = output.columns
        self._waiting = {spec: place for place, spec in enumerate(output.specs)}
        mode, colour = _EMPTY[channels]
        self.image = Image.new(mode, (width, height), colour)
        self.is_large = height * width > LARGE_PIXELS

    def place(self, spec: ImageSpec, image: NDArray[np.uint8]) -> bool:
        """Put an image in its place. Returns whether it was the last one."""
        row, column = divmod(self._waiting.pop(spec), self._columns)
        height, width = image.shape[:2]
        self.image.paste(as_pillow(image), (column * width, row * height))
        return not self._waiting


def _check_size(path: Path, size: tuple[int, int]) -> None:
    """Raise OptionError if an image cannot be written, or could not be read again."""
    height, width = size
    if height * width > MAX_PIXELS:
        raise OptionError(f"--grid makes an image of {width}x{height} pixels, which is too large: give a smaller one")
    reason = why_too_large(path.suffix, size)
    if reason is not None:
        raise OptionError(f"{printable(path)} cannot be written: {reason}")
