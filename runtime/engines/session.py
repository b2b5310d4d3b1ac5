"""One variant of a bundle, opened on one engine: images and styles in, images out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from starcast.errors import BundleError
from starcast.runtime.bundle import Bundle
from starcast.runtime.engines.base import Engine, EngineOptions, GpuTime, Graph, Session, closed_error
from starcast.runtime.manifest import Variant
from starcast.runtime.nvidia.arrays import is_on_gpu

# Engines use more memory than the live values need: at 1024 px OpenVINO 1.5 times as much, ONNX Runtime 2.1.
SCRATCH = 2.2


class VariantSession:
    """Sessions of a variant's frame graph and of the bundle's other graphs, which are opened when first needed.

    All of them run on the same engine. Raises EngineError, and BundleError where a file has changed.
    """

    def __init__(self, bundle: Bundle, engine: Engine, variant: Variant, options: EngineOptions) -> None:
        self.engine = engine
        self.variant = variant
        self._bundle = bundle
        self._options = options
        self._sessions: dict[str, Session] = {}
        self._closed = False
        self._scales: tuple[bytes, NDArray[Any]] | None = None  # the last styles' bytes, and their scales and shifts
        self.session(variant.file)

    def __call__(self, images: NDArray[np.uint8], styles: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Translate uint8 [N, H, W, 3], N at least 1, with styles [N or 1, S]. The caller checks the sizes.

        Engines that are `on_gpu` also accept images on the GPU, and leave their translations there.
        """
        session = self.session(self.variant.file)
        name, conditions = self._conditions(styles)
        if is_on_gpu(images):
            if self.variant.one_style and len(conditions) > 1:
                raise ValueError(
                    f"{self.variant.file} takes one style at a time: hand over images on the GPU style by style"
                )
            return cast("NDArray[np.uint8]", session.run({"image": images, name: conditions}))
        parts = [
            session.run(
                {"image": np.ascontiguousarray(images[part]), name: conditions[part if len(conditions) > 1 else ...]}
            )
            for part in self._parts(images.shape, len(conditions))
        ]
        translations: NDArray[np.uint8] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return translations

    def gpu_time(self, images: NDArray[np.uint8], styles: NDArray[np.float32]) -> GpuTime | None:
        """How long the GPU takes to translate images, at most as many as the variant's largest batch; None if its
        engine cannot measure it."""
        name, conditions = self._conditions(styles)
        return self.session(self.variant.file).gpu_time({"image": images, name: conditions})

    def why_not(self, height: int, width: int) -> str | None:
        """Why images of that size, multiples of the stride, cannot be translated, as a clause, or None."""
        sizes = self.variant.sizes
        if sizes is not None and (height, width) not in sizes:
            known = ", ".join(f"{columns}x{rows}" for rows, columns in sizes)
            return f"{self.engine.name} runs {self.variant.file} only with images of {known}"
        reason = self.session(self.variant.file).why_not(height, width)
        if reason is not None or self.engine.on_gpu:
            return reason  # GPU memory was allocated when the engine was opened, or the engine manages it
        need, memory = self._need(height, width), self._options.memory
        if need is None or memory is None or need <= memory:
            return None
        return (
            f"translating it takes about {need / 2**30:.1f} GiB of memory, more than the {memory / 2**30:.1f} GiB that "
            "may be used: make it smaller, or leave out --fit native"
        )

    def session(self, graph: str) -> Session:
        """The session of one of the bundle's graphs. Opening it checks the hashes of its files."""
        if self._closed:
            raise closed_error(self._bundle.path)
        if graph not in self._sessions:
            self._sessions[graph] = self.engine.open(self._graph(graph), self._options)
        return self._sessions[graph]

    def close(self) -> None:
        """Free what the engine holds, for good. Closing twice is harmless; using it afterwards raises EngineError."""
        self._closed = True
        while self._sessions:
            self._sessions.popitem()[1].close()

    def _graph(self, name: str) -> Graph:
        path, digest = self._bundle.graph(name)
        # styles are made once and cost nothing compared with an image, so their graphs stay exact
        exact = name != self.variant.file
        return Graph(
            path, weights=self._bundle.weights(name), digest=digest, bytes=self._bundle.graph_bytes(name),
            bundle=self._bundle.path,
            precision="fp32" if exact else self.variant.precision, rest=None if exact else self.variant.rest,
        )  # fmt: skip

    def _conditions(self, styles: NDArray[np.float32]) -> tuple[str, NDArray[Any]]:
        """The name and value of the variant's second input for styles [N or 1, S].

        It is the styles themselves, or the norms' scales and shifts that the bundle's product graph computes from them.
        These are reused if the next call has the same styles, as in a video.
        """
        if self.variant.condition == "style":
            return "style", styles
        product = self._bundle.manifest.condition.product
        if product is None:
            raise BundleError(f"{self._bundle.path} has no graph that {self.variant.file} needs: export it again")
        if self._scales is None or self._scales[0] != styles.tobytes():
            self._scales = styles.tobytes(), self.session(product.graph).run({"style": styles})
        return self.variant.condition, self._scales[1]

    def _need(self, height: int, width: int) -> float | None:
        """Bytes needed to translate one image, without the weights; None if the bundle does not say."""
        source, working = self._bundle.manifest.source, self.variant.working
        if source is None or working is None:
            return None
        return SCRATCH * working * (height * width) / (source.height * source.width)

    def _parts(self, shape: tuple[int, ...], conditions: int) -> Iterator[slice]:
        """Split the batch into parts that the variant accepts and that fit into memory."""
        images, height, width = shape[:3]
        most = 1 if self.variant.one_style and conditions > 1 else self.variant.max_batch or images
        need = None if self.engine.on_gpu else self._need(height, width)
        if need and self._options.memory is not None:
            most = min(most, max(1, int(self._options.memory / need)))
        for start in range(0, images, most):
            yield slice(start, start + most)
