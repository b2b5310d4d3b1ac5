"""One variant of a bundle, opened on one engine: images and styles in, images out; or styles and noise in."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import MappingProxyType
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from starcast.errors import BundleError
from starcast.runtime.bundle import Bundle
from starcast.runtime.engines import forks
from starcast.runtime.engines.base import Arrays, Engine, EngineOptions, GpuTime, Graph, Session, closed_error, shown
from starcast.runtime.engines.memory_needs import held_need, image_need
from starcast.runtime.engines.speed_watch import Watch
from starcast.runtime.extra_inputs import ExtraInputs
from starcast.runtime.landmarks import LandmarkFinder
from starcast.runtime.manifest import MANIFEST
from starcast.runtime.manifest_bounds import Shape
from starcast.runtime.noise import NoiseFeeds
from starcast.runtime.nvidia.placement import is_on_gpu
from starcast.runtime.stages import submit
from starcast.runtime.variants import Variant

Result = TypeVar("Result")
_NONE: Mapping[str, NDArray[Any]] = MappingProxyType({})


class VariantSession:
    """Sessions of a variant's frame graph and of the bundle's other graphs, which are opened when first needed.

    All of them run on the same engine. Raises EngineError, and BundleError where a file has changed or a graph is not
    what the manifest says. Threads may share it: their calls run one after the other, each on all of the engine's
    threads. A forked child that uses it opens the graphs again, or gets EngineError where its engine does not survive
    a fork.
    """

    def __init__(self, bundle: Bundle, engine: Engine, variant: Variant, options: EngineOptions) -> None:
        self.engine = engine
        self.variant = variant
        self._bundle = bundle
        self._options = options
        self._counts = options.memory is not None and not engine.on_gpu
        self._held = held_need(bundle, engine, variant, options.beside) if self._counts else 0
        self._counted: set[str] = set()
        self._sessions: dict[str, Session] = {}
        self._closed = False
        self._lock, self._thread = self._begin()
        self.watch: Watch | None = None
        self._scales: tuple[bytes, NDArray[Any]] | None = None  # the last styles' bytes, and their scales and shifts
        self.extra_inputs, self.landmarks = ExtraInputs(bundle, self.run), LandmarkFinder(bundle, self.run)
        self.session(variant.file)
        forks.follow(self)

    def __call__(self, images: NDArray[np.uint8], styles: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Translate uint8 [N, H, W, 3], N at least 1, with styles [N or 1, S]. The caller checks the sizes.

        Engines that are `on_gpu` also accept images on the GPU, and leave their translations there.
        """
        with self._lock, self.watch.timed(images.shape) if self.watch is not None else nullcontext():
            name, conditions = self._conditions(styles)
            if is_on_gpu(images):
                if self.variant.one_style and len(conditions) > 1:
                    raise ValueError(
                        f"{self.variant.file} takes one style at a time: hand over images on the GPU style by style"
                    )
                on_gpu = {"image": images, name: conditions, **self._extra_inputs_of(images)}
                return cast("NDArray[np.uint8]", self.run(self.variant.file, on_gpu))
            parts = []
            for part in self._parts(images.shape, len(conditions)):
                own = conditions[part if len(conditions) > 1 else ...]
                sources = np.ascontiguousarray(images[part])
                feeds = {"image": sources, name: own, **self._extra_inputs_of(sources)}
                parts.append(self._make(feeds, sources.shape))
        return _join(parts)

    def generate(self, styles: NDArray[np.float32], noise: NoiseFeeds) -> NDArray[np.uint8]:
        """Make images uint8 [N, H, W, C] from a style each, N at least 1, and what `noise` gives for each part of the
        batch, in order. The bundle has no source."""
        output = self._bundle.manifest.output
        assert output is not None
        whole = len(styles), output.height, output.width, output.channels
        with self._lock, self.watch.timed(whole) if self.watch is not None else nullcontext():
            name, conditions = self._conditions(styles)
            parts = []
            for part in self._parts(whole, len(styles)):
                own = np.ascontiguousarray(conditions[part])
                parts.append(self._make({name: own, **noise(part)}, (len(own), *whole[1:])))
        return _join(parts)

    @property
    def usual_batch(self) -> int:
        """The batch size that brings the engine close to its best rate."""
        return self.engine.best_batch(self.variant.precision)

    def run(self, graph: str, feeds: Arrays) -> NDArray[Any]:
        """Run one of the bundle's graphs on named inputs, and return its output."""
        with self._lock:
            session = self.session(graph)
            return self._in_thread(lambda: session.run(feeds))

    def feeds(
        self, images: NDArray[np.uint8] | None, styles: NDArray[np.float32], extra: Mapping[str, NDArray[Any]] = _NONE
    ) -> dict[str, NDArray[Any]]:
        """The frame graph's inputs by name. `extra` are its further inputs: noise, without a source; else what is made
        of the images where it is not given. All may be on the GPU; without a source there are no images."""
        with self._lock:
            name, conditions = self._conditions(styles)
        if images is None:
            return {name: conditions, **extra}
        return {"image": images, name: conditions, **(extra or self._extra_inputs_of(images))}

    def _extra_inputs_of(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """The extra inputs of sources, by name. Raises ValueError for images on the GPU, if the bundle has any."""
        if self.extra_inputs and is_on_gpu(images):
            raise ValueError(f"{self._bundle.path} takes no images on the GPU: hand over NumPy arrays")
        return dict(self.extra_inputs.make(images))

    def gpu_time(
        self, images: NDArray[np.uint8] | None, styles: NDArray[np.float32], extra: Mapping[str, NDArray[Any]] = _NONE
    ) -> GpuTime | None:
        """How long the GPU takes for inputs as in `feeds`, at most as many images as the variant's largest batch; None
        if its engine cannot measure it."""
        with self._lock:
            return self.session(self.variant.file).gpu_time(self.feeds(images, styles, extra))

    def why_not(self, height: int, width: int) -> str | None:
        """Why images of that size, multiples of the stride, cannot be translated, as a clause, or None."""
        sizes = self.variant.sizes
        if sizes is not None and (height, width) not in sizes:
            known = ", ".join(f"{columns}x{rows}" for rows, columns in sizes)
            return f"{self.engine.name} runs {self.variant.file} only with images of {known}"
        reason = self.session(self.variant.file).why_not(height, width)
        if reason is not None or self.engine.on_gpu:
            return reason  # GPU memory was allocated when the engine was opened, or the engine manages it
        memory = self._options.memory
        need = self._held + image_need(self._bundle, self.engine, self.variant, height, width)
        if memory is None or need <= memory:
            return None
        manifest = self._bundle.manifest
        larger = height * width > math.prod(manifest.trained_size)
        remedy = "make it smaller, or leave out --fit native" if larger else "give a higher --memory"
        return (
            f"{'translating it' if manifest.output is None else 'generating one'} takes about {need / 2**30:.1f} GiB "
            f"of memory, more than the {memory / 2**30:.1f} GiB that may be used: {remedy}"
        )

    def session(self, graph: str) -> Session:
        """The session of one of the bundle's graphs. Opening it checks the hashes of its files, and that it has the
        inputs that the manifest says."""
        with self._lock:
            if self._closed:
                raise closed_error(self._bundle.path)
            if graph not in self._sessions:
                description = self._graph(graph)
                session = self._in_thread(lambda: self.engine.open(description, self._options))
                try:
                    self._check_inputs(graph, session.inputs())
                except BaseException:
                    self._in_thread(session.close)
                    raise
                self._sessions[graph] = session
                self._count(graph)
            return self._sessions[graph]

    def close(self) -> None:
        """Free what the engine holds, for good, once no other thread runs it. Closing twice is harmless; using it
        afterwards raises EngineError."""
        with self._lock:
            if self.watch is not None and not self._closed:
                self.watch.end()
            self._closed = True
            while self._sessions:
                self._in_thread(self._sessions.popitem()[1].close)
            if self._thread is not None:
                self._thread.shutdown()
                self._thread = None

    def start_afresh(self) -> None:
        """Called in a forked child: forget the parent's sessions and locks, which another thread may have held."""
        forks.abandon([*self._sessions.values(), self._lock, self._thread])
        self._sessions = {}
        self._lock, self._thread = self._begin()

    def _count(self, graph: str) -> None:
        """Count the memory of a graph that was not announced by `beside`."""
        makers = (one.graph for one in self._bundle.manifest.source_makers)
        expected = {self.variant.file, *self._options.beside, *makers, *self._counted}
        if self._counts and graph not in expected:
            self._counted.add(graph)
            self._held += self.engine.held_beside(self._bundle, graph)

    def _begin(self) -> tuple[threading.RLock, ThreadPoolExecutor | None]:
        """A lock for this process, and a thread for the engine where a fork makes that necessary."""
        alone = forks.needs_thread(self.engine.name, self.engine.after_fork)
        return threading.RLock(), ThreadPoolExecutor(1, "starcast-engine") if alone else None

    def _in_thread(self, call: Callable[[], Result]) -> Result:
        """Call the engine, from its thread if it has one."""
        return call() if self._thread is None else submit(self._thread, call).result()

    def _make(self, feeds: Arrays, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Run the frame graph. Raises BundleError unless its output is uint8 of this shape."""
        images = self.run(self.variant.file, feeds)
        if images.dtype != np.uint8 or images.shape != shape:
            raise BundleError(
                f"{self._bundle.path / self.variant.file} makes {images.dtype} {list(images.shape)} instead of uint8 "
                f"{list(shape)}: export the bundle again"
            )
        return images

    def _check_inputs(self, graph: str, has: Mapping[str, Shape]) -> None:
        """Raise BundleError unless a graph has the inputs that the manifest says."""
        wanted = self._bundle.manifest.inputs_of(graph)
        for name, shape in has.items():
            if name not in wanted or not _fit(shape, wanted[name]):
                expected = f"is not in {MANIFEST}" if name not in wanted else f"is {shown(wanted[name])} in {MANIFEST}"
                raise BundleError(
                    f"{self._bundle.path / graph} has the input {name} {shown(shape)}, which {expected}: "
                    "export the bundle again"
                )

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
            self._scales = styles.tobytes(), self.run(product.graph, {"style": styles})
        return self.variant.condition, self._scales[1]

    def _parts(self, shape: tuple[int, ...], conditions: int) -> Iterator[slice]:
        """Split the batch into parts that the variant accepts and that fit into memory."""
        images, height, width = shape[:3]
        most = 1 if self.variant.one_style and conditions > 1 else self.variant.max_batch or images
        if self._options.memory is not None and not self.engine.on_gpu:
            need = image_need(self._bundle, self.engine, self.variant, height, width)
            most = min(most, max(1, int((self._options.memory - self._held) / max(1.0, need))))
        for start in range(0, images, most):
            yield slice(start, start + most)


def _join(parts: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _fit(shape: Shape, wanted: Shape) -> bool:
    """Whether an array can have both shapes."""
    pairs = zip(shape, wanted, strict=False)
    return len(shape) == len(wanted) and all(None in pair or pair[0] == pair[1] for pair in pairs)
