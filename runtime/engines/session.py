"""One variant of a bundle on one engine: pictures and styles in, pictures out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from starcast.errors import BundleError
from starcast.runtime.bundle import Bundle
from starcast.runtime.engines.base import Backend, CardTime, EngineOptions, GraphFile, Session
from starcast.runtime.manifest import Variant
from starcast.runtime.nvidia.arrays import is_on_card

# engines take more than the values that are alive: at 1024 px OpenVINO 1.5 times as much, ONNX Runtime 2.1 times
SCRATCH = 2.2


class Frames:
    """A frame graph, opened, and the bundle's other graphs on the same engine, opened when they are first needed.

    `engine` and `variant` say what runs. Raises EngineError, and BundleError where a file has changed.
    """

    def __init__(self, bundle: Bundle, engine: Backend, variant: Variant, options: EngineOptions) -> None:
        self.engine = engine
        self.variant = variant
        self._bundle = bundle
        self._options = options
        self._sessions: dict[str, Session] = {}
        self._scales: tuple[bytes, NDArray[Any]] | None = None  # styles' bytes, what their product made of them
        self.session(variant.file)

    def __call__(self, images: NDArray[np.uint8], styles: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The translations of uint8 [N, H, W, 3], N at least 1, in styles [N or 1, S]. Sizes are the caller's care.

        Pictures on a graphics card are for engines that are `on_card`, whose translations of them are there, too.
        """
        session = self.session(self.variant.file)
        name, conditions = self._conditions(styles)
        if is_on_card(images):
            if self.variant.one_style and len(conditions) > 1:
                raise ValueError(
                    f"{self.variant.file} takes one style at a time: hand over pictures on the card style by style"
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

    def card_time(self, images: NDArray[np.uint8], styles: NDArray[np.float32]) -> CardTime | None:
        """How long the card takes for the translations of as many pictures as the variant takes at a time; None where
        its engine does not tell."""
        name, conditions = self._conditions(styles)
        return self.session(self.variant.file).card_time({"image": images, name: conditions})

    def why_not(self, height: int, width: int) -> str | None:
        """Why pictures of that size, multiples of the stride, cannot be translated, or None."""
        sizes = self.variant.sizes
        if sizes is not None and (height, width) not in sizes:
            known = ", ".join(f"{columns}x{rows}" for rows, columns in sizes)
            return f"{self.engine.name} runs {self.variant.file} only with pictures of {known}"
        reason = self.session(self.variant.file).why_not(height, width)
        if reason is not None or self.engine.on_card:
            return reason  # the card's memory was taken when its engine was opened, or is its engine's own care
        need, memory = self._need(height, width), self._options.memory
        if need is None or memory is None or need <= memory:
            return None
        return (
            f"translating it takes about {need / 2**30:.1f} GiB of memory, more than the {memory / 2**30:.1f} GiB that "
            "may be used: make it smaller, or leave out --fit native"
        )

    def session(self, graph: str) -> Session:
        """The session of a graph of the bundle, after the hashes of its files have been checked."""
        if graph not in self._sessions:
            path, digest = self._bundle.graph(graph)
            file = GraphFile(path, digest, self._bundle.graph_bytes(graph), self._bundle.path)
            # styles are made once and cost nothing beside a picture: their graphs stay exact
            main = graph == self.variant.file
            precision, rest = (self.variant.precision, self.variant.rest) if main else ("fp32", None)
            self._sessions[graph] = self.engine.open(file, replace(self._options, precision=precision, rest=rest))
        return self._sessions[graph]

    def close(self) -> None:
        """Free what the engine holds. Using it afterwards opens it again."""
        while self._sessions:
            self._sessions.popitem()[1].close()

    def _conditions(self, styles: NDArray[np.float32]) -> tuple[str, NDArray[Any]]:
        """What the variant takes instead of styles [N or 1, S], by its name: the styles, or the norms' scales and
        shifts that the bundle's product makes of them. The latter are kept for the next call: a video has one style."""
        if self.variant.condition == "style":
            return "style", styles
        product = self._bundle.manifest.condition.product
        if product is None:
            raise BundleError(f"{self._bundle.path} has no graph that {self.variant.file} needs: export it again")
        if self._scales is None or self._scales[0] != styles.tobytes():
            self._scales = styles.tobytes(), self.session(product.graph).run({"style": styles})
        return self.variant.condition, self._scales[1]

    def _need(self, height: int, width: int) -> float | None:
        """Bytes that translating one picture takes, weights not counted; None where the bundle does not tell."""
        source, working = self._bundle.manifest.source, self.variant.working
        if source is None or working is None:
            return None
        return SCRATCH * working * (height * width) / (source.height * source.width)

    def _parts(self, shape: tuple[int, ...], conditions: int) -> Iterator[slice]:
        """The batch in pieces that the variant and the memory take."""
        pictures, height, width = shape[:3]
        most = 1 if self.variant.one_style and conditions > 1 else self.variant.max_batch or pictures
        need = None if self.engine.on_card else self._need(height, width)
        if need and self._options.memory is not None:
            most = min(most, max(1, int(self._options.memory / need)))
        for start in range(0, pictures, most):
            yield slice(start, start + most)
