"""Landmarks of faces, found by a graph of the bundle: heatmaps of an image, and the points that are read from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.errors import BundleError, MissingExtraError
from starcast.images.landmarks import read_landmarks
from starcast.runtime.bundle import Bundle
from starcast.runtime.manifest import LandmarkMaker

Run = Callable[[str, Mapping[str, NDArray[Any]]], NDArray[Any]]
ENGINE_ORDER = ("openvino", "onnxruntime")  # the faster one first (docs/faces.md)


class LandmarkFinder:
    """Finds landmarks with a bundle's graph. `run` runs one of the bundle's graphs on named inputs, and returns the
    output."""

    def __init__(self, bundle: Bundle, run: Run) -> None:
        self._bundle, self._run = bundle, run

    def find(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The landmarks [points, 2], (x, y) in pixels, of a face that fills an image, uint8 RGB [H, W, 3] of any size.

        Raises EngineError, and BundleError if the bundle has no landmark graph, or one that gives something else.
        """
        height, width = image.shape[:2]
        heatmaps = self.heatmaps(np.ascontiguousarray(image)[None])
        landmarks: NDArray[np.float32] = read_landmarks(heatmaps, height, width)[0]
        return landmarks

    def heatmaps(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The heatmaps [N, points, h, w] of images uint8 [N, H, W, 3]. Raises what `find` raises."""
        maker = self._maker
        heatmaps = self._run(maker.graph, {"image": images})
        shape = len(images), maker.points, maker.height, maker.width
        if heatmaps.dtype != np.float32 or heatmaps.shape != shape:
            raise BundleError(
                f"{self._bundle.path / maker.graph} makes {heatmaps.dtype} {list(heatmaps.shape)} instead of float32 "
                f"{list(shape)}: export the bundle again"
            )
        return heatmaps

    @property
    def _maker(self) -> LandmarkMaker:
        maker = self._bundle.manifest.landmarks
        if maker is None:
            raise BundleError(
                f"{self._bundle.path} has no graph that finds landmarks: if it is a face model, export it again with "
                "this starcast"
            )
        return maker


@contextmanager
def open_landmarks(bundle: Bundle) -> Iterator[LandmarkFinder]:
    """A bundle's landmark graph alone, on the CPU: nothing else of the bundle is opened, and no engines are measured.

    Raises EngineError, BundleError, and MissingExtraError if neither OpenVINO nor ONNX Runtime is installed.
    """
    from starcast.runtime.engines.base import EngineOptions, Graph
    from starcast.runtime.engines.registry import ENGINES

    maker = bundle.manifest.landmarks
    engine = next((ENGINES[name] for name in ENGINE_ORDER if ENGINES[name].absent() is None), None)
    if maker is None:
        raise BundleError(f"{bundle.path} has no graph that finds landmarks")
    if engine is None:
        raise MissingExtraError(
            f"{bundle.path / maker.graph} needs OpenVINO or ONNX Runtime: pip install 'starcast[openvino]'"
        )
    path, digest = bundle.graph(maker.graph)
    graph = Graph(
        path, weights=bundle.weights(maker.graph), digest=digest, bytes=bundle.graph_bytes(maker.graph),
        bundle=bundle.path,
    )  # fmt: skip
    session = engine.open(graph, EngineOptions())
    try:
        yield LandmarkFinder(bundle, lambda _, feeds: session.run(feeds))
    finally:
        session.close()
