"""Features of the real images, computed once for all evaluations: cached by the images' hashes and the weights'."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from starcast.benchmarks.evaluation.images import AHEAD, READERS
from starcast.benchmarks.evaluation.judges import USUAL, Judges
from starcast.benchmarks.quality.inception import AT_ONCE, Prepare, prepare_clean, prepare_official, prepare_usual
from starcast.errors import ImageError, printable
from starcast.images.fit import fit
from starcast.images.read import read_image
from starcast.runtime.engines.cache import make_room, private, read_sealed, user_cache, write_sealed
from starcast.runtime.progress import ProgressBar
from starcast.runtime.stages import map_ahead, open_pool

Floats = NDArray[np.float32]

PART = 256  # images in a file of the cache, and at most as many that a killed process has to compute again


def preparations(size: tuple[int, int], *, clean: bool, usual: bool) -> dict[str, Prepare]:
    """How images are prepared, by the name of the features: `official` and `usual`, at the model's size, and
    `clean`."""
    ways: dict[str, Prepare] = {"official": partial(prepare_official, size=size)}
    if clean:
        ways["clean"] = prepare_clean
    if usual:
        ways[USUAL] = partial(prepare_usual, size=size)
    return ways


def cache_folder(otherwise: Path) -> Path:
    """The user's cache of features; `otherwise` if there is none, or if others could write into it."""
    with contextlib.suppress(OSError, RuntimeError):
        folder = private(user_cache().with_name("features"))
        if folder is not None:
            return folder
    return otherwise


class RealFeatures:
    """Computes features of real images, or takes them from the cache."""

    def __init__(
        self, judges: Judges, device: torch.device, size: tuple[int, int], *, clean: bool, square: bool, cache: Path,
        fail: Callable[[str], None],
    ) -> None:  # fmt: skip
        """`square`: only the central square of an image counts. `fail` gets a sentence for each image that cannot be
        read, which is left out."""
        self._judges, self._cache, self._fail, self._square = judges, cache, fail, square
        self._prepare = preparations(size, clean=clean, usual=judges.usual is not None)
        facts = {"square": square, "torch": torch.__version__, "device": device.type}
        self._facts = {
            name: {**facts, "judge": judges.weights(name), "size": None if name == "clean" else size}
            for name in self._prepare
        }

    def write(
        self, paths: Sequence[Path], hashes: Sequence[str], folder: Path, bar: ProgressBar
    ) -> tuple[dict[str, Floats], list[int]]:
        """The features by name, as memory maps of files in `folder`, and which images their rows are."""
        rows: list[int] = []
        maps = {
            name: np.lib.format.open_memmap(
                folder / f"real-{name}.npy", "w+", np.float32, (len(paths), self._judges.network(name).width)
            )
            for name in self._prepare
        }
        for start in range(0, len(paths), PART):
            part = slice(start, start + PART)
            features, kept = self._part(paths[part], hashes[part], bar)
            for name, values in features.items():
                maps[name][len(rows) : len(rows) + len(kept)] = values
            rows += [start + place for place in kept]
        return {name: values[: len(rows)] for name, values in maps.items()}, rows

    def _part(
        self, paths: Sequence[Path], hashes: Sequence[str], bar: ProgressBar
    ) -> tuple[dict[str, Floats], list[int]]:
        files = {name: self._cache / self._key(name, hashes) for name in self._prepare}
        cached = {name: entry for name, file in files.items() if (entry := _read(file, len(paths))) is not None}
        missing = {name: prepare for name, prepare in self._prepare.items() if name not in cached}
        if missing:
            computed, kept = self._compute(paths, missing, bar)
            for name, values in computed.items():
                cached[name] = values, kept
                with contextlib.suppress(OSError):  # on a full disk, the next evaluation computes them again
                    write_sealed(files[name], _pack(values, kept))
                    make_room(self._cache)
        else:
            bar.advance(len(paths))
        kept = next(iter(cached.values()))[1]
        for place in set(range(len(paths))) - set(kept):
            self._fail(_why_unreadable(paths[place]))
        return {name: values for name, (values, _) in cached.items()}, kept

    def _compute(
        self, paths: Sequence[Path], ways: Mapping[str, Prepare], bar: ProgressBar
    ) -> tuple[dict[str, Floats], list[int]]:
        def prepare(path: Path) -> dict[str, NDArray[Any]] | None:
            try:
                image = read_image(path)
            except ImageError:
                return None
            if self._square:
                side = min(image.shape[:2])
                image = fit(image, (side, side), "crop")
            return {name: way(image) for name, way in ways.items()}

        kept: list[int] = []
        waiting: list[dict[str, NDArray[Any]]] = []
        features: dict[str, list[Floats]] = {name: [] for name in ways}

        def run() -> None:
            for name, done in features.items():
                done.append(self._judges.network(name)(np.stack([prepared[name] for prepared in waiting])))
            waiting.clear()

        with open_pool(READERS) as pool:
            for place, prepared in enumerate(map_ahead(pool, prepare, paths, ahead=AHEAD)):
                if prepared is not None:
                    kept.append(place)
                    waiting.append(prepared)
                if len(waiting) == AT_ONCE:
                    run()
                bar.advance()
        if waiting:
            run()
        empty = {name: np.empty((0, self._judges.network(name).width), np.float32) for name in ways}
        return {name: np.concatenate([empty[name], *done]) for name, done in features.items()}, kept

    def _key(self, name: str, hashes: Sequence[str]) -> str:
        facts = {"features": name, **self._facts[name], "images": list(hashes)}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _pack(values: Floats, kept: Sequence[int]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, values=values, kept=np.asarray(kept, np.int64))
    return buffer.getvalue()


def _read(file: Path, images: int) -> tuple[Floats, list[int]] | None:
    content = read_sealed(file)
    if content is None:
        return None
    try:
        with np.load(io.BytesIO(content)) as arrays:
            values, kept = np.asarray(arrays["values"], np.float32), [int(place) for place in arrays["kept"]]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    return (values, kept) if len(values) == len(kept) <= images else None


def _why_unreadable(path: Path) -> str:
    try:
        read_image(path)
    except ImageError as error:
        return str(error)
    return f"{printable(path)} could not be read when its features were computed: run the command again"
