"""Further inputs of a frame graph that graphs of the bundle make from the source, such as masks of a face.

They depend on the source alone. The latest ones are cached, so that they are made once for a source with several
styles, or for the still source of a morph.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from starcast.errors import BundleError
from starcast.runtime.bundle import Bundle
from starcast.runtime.landmarks import LandmarkFinder
from starcast.runtime.manifest import ExtraInput

KEPT_BYTES = 2**26  # of extra inputs that are cached: those of 128 images with two masks of 256x256

Feeds = Mapping[str, NDArray[Any]]
Made = tuple[NDArray[np.float32], ...]  # of one image, one for each input: [channels, height, width]


class ExtraCost(msgspec.Struct, frozen=True):
    """What extra inputs cost so far: their names, for how many sources they were made, and the seconds that took."""

    names: tuple[str, ...] = ()
    sources: int = 0
    seconds: float = 0.0

    def within(self, stage: str, images: int) -> str:
        """Follows a stage's milliseconds per image: ` (masks 48.1)` for the stage `run` of a bundle with masks."""
        if stage != "run" or not self.names or not images:
            return ""
        return f" ({' and '.join(self.names)} {1000 * self.seconds / images:.1f})"

    def since(self, before: ExtraCost) -> ExtraCost:
        """The cost since `before`."""
        return ExtraCost(self.names, self.sources - before.sources, self.seconds - before.seconds)


def _key(image: NDArray[np.uint8]) -> bytes:
    """What stands for an image in the cache: its pixels themselves would take far more memory than what is kept."""
    digest = hashlib.blake2b(str(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


class ExtraInputs:
    """Makes the extra inputs of a bundle. `run` runs one of its graphs on named inputs and returns the output."""

    def __init__(self, bundle: Bundle, run: Callable[[str, Feeds], NDArray[Any]]) -> None:
        self._bundle, self._run = bundle, run
        self._inputs = bundle.manifest.extra_inputs
        self._finder = LandmarkFinder(bundle, run) if any(one.reads == "heatmaps" for one in self._inputs) else None
        size = sum(4 * one.channels * one.height * one.width for one in self._inputs)
        self._most = max(1, KEPT_BYTES // size) if size else 0
        self._kept: OrderedDict[bytes, Made] = OrderedDict()  # by the image's digest
        self.cost = ExtraCost(tuple(one.name for one in self._inputs))

    def __bool__(self) -> bool:
        """Whether the bundle has any."""
        return bool(self._inputs)

    def make(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """The inputs by name, float32 [N, channels, h, w], for images uint8 [N, H, W, 3], N at least 1.

        Raises EngineError, and BundleError if a graph does not give what the manifest says.
        """
        if not self._inputs:
            return {}
        keys = [_key(image) for image in images]
        missing = {key: number for number, key in enumerate(keys) if key not in self._kept}
        made = self._make(images, missing)
        for key in dict.fromkeys(keys):
            made[key] = made.get(key) or self._kept[key]
            self._kept[key] = made[key]
            self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return {
            one.name: self._fit(one, np.stack([made[key][number] for key in keys]), images.shape)
            for number, one in enumerate(self._inputs)
        }

    def forget(self) -> None:
        """Empty the cache, so that the next call makes everything again: for measurements."""
        self._kept.clear()

    def _make(self, images: NDArray[np.uint8], numbers: Mapping[bytes, int]) -> dict[bytes, Made]:
        """Run the graphs, one image at a time: their largest maps are larger than the frame graph's."""
        start = time.perf_counter()
        made = {key: self._make_one(images[number : number + 1]) for key, number in numbers.items()}
        seconds = self.cost.seconds + time.perf_counter() - start
        self.cost = ExtraCost(self.cost.names, self.cost.sources + len(made), seconds)
        return made

    def _make_one(self, image: NDArray[np.uint8]) -> Made:
        feeds: dict[str, NDArray[Any]] = {"image": image}
        if self._finder is not None:
            feeds["heatmaps"] = self._finder.heatmaps(image)
        return tuple(self._check(one, self._run(one.graph, {one.reads: feeds[one.reads]})) for one in self._inputs)

    def _check(self, one: ExtraInput, values: NDArray[Any]) -> NDArray[np.float32]:
        shape = 1, one.channels, one.height, one.width
        if values.dtype != np.float32 or values.shape != shape:
            raise BundleError(
                f"{self._bundle.path / one.graph} makes {values.dtype} {list(values.shape)} instead of float32 "
                f"{list(shape)}: export the bundle again"
            )
        alone: NDArray[np.float32] = np.array(values[0])  # a copy: engines may use their memory again
        return alone

    def _fit(self, one: ExtraInput, values: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Resize by the ratio of the images to the trained size."""
        source = self._bundle.source
        height, width = one.height * shape[1] // source.height, one.width * shape[2] // source.width
        if (height, width) == values.shape[2:]:
            return values
        import cv2  # takes milliseconds to import, and most commands need none of it

        planes = [
            [cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in each] for each in values
        ]
        return np.array(planes, np.float32)
