"""Translator: a bundle opened on an engine, from pictures and styles to pictures."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from starcast.errors import BundleError, StyleError
from starcast.runtime.backends.base import EngineOptions, Session
from starcast.runtime.backends.choose import choose
from starcast.runtime.bundle import Bundle, Source, open_bundle
from starcast.runtime.fit import fit
from starcast.runtime.styles import LARGEST_SEED, domain_index


class Translator:
    """A bundle, opened on an engine.

        with Translator("my-model") as translator:
            style = translator.style(domain="dog", seed=7, psi=0.7)
            translations = translator(images, style)

    Use it from one thread at a time; open one for each thread that translates.
    """

    def __init__(
        self, path: str | Path, *, backend: str = "auto", precision: str = "fp32", threads: int | None = None
    ) -> None:
        """Raises BundleError, VariantMissingError, MissingExtraError, OptionError or EngineError. `threads` None: as
        many as this process may use."""
        self.bundle: Bundle = open_bundle(Path(path))
        self._engine, self._variant = choose(self.bundle, backend, precision)
        self._options = EngineOptions(threads=threads, precision=precision)
        self._sessions: dict[str, Session] = {}
        self._scales: tuple[bytes, NDArray[Any]] | None = None  # styles' bytes, what their product made of them
        self._session(self._variant.file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free what the engine holds. Translating afterwards opens it again."""
        while self._sessions:
            self._sessions.popitem()[1].close()

    @property
    def backend(self) -> str:
        """Name of the engine."""
        return self._engine.name

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the domains, in the order of their numbers."""
        return self.bundle.manifest.domains

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) that the network was trained at."""
        return self._source.height, self._source.width

    def style(
        self,
        domain: str | SupportsIndex | None = None,
        *,
        seed: int | None = None,
        psi: float = 1.0,
        reference: NDArray[np.uint8] | str | Path | None = None,
    ) -> NDArray[np.float32]:
        """The style vector [S] of a seed's latent or of a reference in a domain, given by name or number.

        The latent is numpy's RandomState(seed).standard_normal. A reference is a path or uint8 RGB [H, W, 3] of any
        size. `psi` 1 keeps the style, 0 gives the domain's mean style, between is between. The domain of a bundle
        with one may be left out. Raises StyleError, ImageError, BundleError, EngineError.
        """
        number = domain_index(domain, self.domains)
        if (seed is None) == (reference is None):
            raise StyleError("a style is made from a seed or from a reference: give one of them")
        if not math.isfinite(psi):
            raise StyleError(f"psi is {psi}: give a number, 0 for the mean style and 1 for the style itself")
        made = self._from_seed(seed, number) if reference is None else self._from_reference(reference, number)
        if psi == 1:
            return made
        mean = self._means[number]
        style: NDArray[np.float32] = mean + np.float32(psi) * (made - mean)
        return style

    def __call__(self, images: NDArray[np.uint8], style: ArrayLike) -> NDArray[np.uint8]:
        """The translations of uint8 RGB pictures [N, H, W, 3] or of one [H, W, 3], in the same shape.

        H and W are multiples of the bundle's stride. `style` is [S] or [1, S] for all of them, or [N, S]. Raises
        TypeError or ValueError for pictures of another kind, StyleError for other styles, EngineError.
        """
        images = np.asarray(images)
        batch = images[None] if images.ndim == 3 else images
        self._check_pictures(images, batch)
        styles = self._checked_styles(style, len(batch))
        if not len(batch):
            return batch.copy()
        session = self._session(self._variant.file)
        name, conditions = self._conditions(styles)
        parts = [
            session.run(
                {"image": np.ascontiguousarray(batch[part]), name: conditions[part if len(conditions) > 1 else ...]}
            )
            for part in self._parts(len(batch), len(conditions))
        ]
        translations: NDArray[np.uint8] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return translations[0] if images.ndim == 3 else translations

    @property
    def _source(self) -> Source:
        source = self.bundle.manifest.source
        if source is None:
            raise BundleError(f"{self.bundle.path} makes pictures from styles alone: there is no source to translate")
        return source

    @cached_property
    def _means(self) -> NDArray[np.float32]:
        """Each domain's mean style, float32 [domains, S]."""
        condition = self.bundle.manifest.condition
        if condition.means is None:
            raise StyleError(f"{self.bundle.path} has no mean styles, which psi needs: leave psi at 1")
        path = self.bundle.file(condition.means)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                means: NDArray[np.float32] = arrays["mean"].astype(np.float32)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise BundleError(f"{path} holds no mean styles ({error}): export the bundle again") from error
        if means.shape != (len(self.domains), condition.size):
            raise BundleError(
                f"{path} holds mean styles of shape {list(means.shape)} instead of "
                f"{[len(self.domains), condition.size]}: export the bundle again"
            )
        return means

    def _from_seed(self, seed: Any, domain: int) -> NDArray[np.float32]:
        maker = self.bundle.manifest.condition.latent
        if maker is None:
            raise StyleError(f"{self.bundle.path} makes no styles from seeds: give a reference")
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed <= LARGEST_SEED:
            raise StyleError(f"the seed is {seed!r}: give a whole number from 0 to {LARGEST_SEED}")
        latent = np.random.RandomState(int(seed)).standard_normal(maker.size).astype(np.float32)
        return self._made(maker.graph, {"latent": latent[None]}, domain)

    def _from_reference(self, reference: NDArray[np.uint8] | str | Path, domain: int) -> NDArray[np.float32]:
        maker = self.bundle.manifest.condition.reference
        if maker is None:
            raise StyleError(f"{self.bundle.path} makes no styles from references: give a seed")
        if isinstance(reference, str | Path):
            from starcast.runtime.images import read_image

            reference = read_image(reference)
        _check_uint8(reference, "a reference")
        if reference.ndim != 3 or reference.shape[2] != 3 or not reference.size:
            raise ValueError(f"a reference is a picture [H, W, 3], not {list(reference.shape)}")
        picture = fit(reference, (maker.height, maker.width), "stretch")
        return self._made(maker.graph, {"image": np.ascontiguousarray(picture)[None]}, domain)

    def _made(self, graph: str, feeds: dict[str, NDArray[Any]], domain: int) -> NDArray[np.float32]:
        style = self._session(graph).run({**feeds, "domain": np.array([domain], np.int64)})
        return np.array(style[0], np.float32)

    def _session(self, graph: str) -> Session:
        """The session of a graph, opened when it is first needed, after the graph's hash has been checked."""
        if graph not in self._sessions:
            path, digest = self.bundle.graph(graph)
            self._sessions[graph] = self._engine.open(path, self._options, digest)
        return self._sessions[graph]

    def _check_pictures(self, images: NDArray[Any], batch: NDArray[Any]) -> None:
        _check_uint8(images, "a source")
        if batch.ndim != 4 or batch.shape[3] != self._source.channels:
            raise ValueError(
                f"sources are [N, H, W, {self._source.channels}] or one [H, W, {self._source.channels}], "
                f"not {list(images.shape)}"
            )
        height, width = batch.shape[1:3]
        stride, sizes = self._source.stride, self._variant.sizes
        if not height or not width or height % stride or width % stride:
            raise ValueError(f"sources are {width}x{height}: both sides must be multiples of {stride}")
        if sizes is not None and (height, width) not in sizes:
            known = ", ".join(f"{columns}x{rows}" for rows, columns in sizes)
            raise ValueError(f"sources are {width}x{height}: {self._variant.file} takes {known}")

    def _checked_styles(self, style: ArrayLike, pictures: int) -> NDArray[np.float32]:
        """float32 [1, S] or [N, S]."""
        styles = np.ascontiguousarray(style, np.float32)
        size = self.bundle.manifest.condition.size
        rows = styles[None] if styles.ndim == 1 else styles
        if rows.ndim != 2 or rows.shape[1] != size or len(rows) not in (1, pictures):
            raise StyleError(
                f"the style has the shape {list(np.shape(style))}: give [{size}] for all pictures, or "
                f"[{pictures}, {size}] for one each"
            )
        if not np.isfinite(rows).all():
            raise StyleError("the style holds numbers that are not finite: make it with Translator.style")
        return rows

    def _conditions(self, styles: NDArray[np.float32]) -> tuple[str, NDArray[Any]]:
        """What the variant takes instead of styles [N or 1, S], by its name: the styles, or the norms' scales and
        shifts that the bundle's product makes of them. The latter are kept for the next call: a video has one style."""
        if self._variant.condition == "style":
            return "style", styles
        product = self.bundle.manifest.condition.product
        if product is None:
            raise BundleError(f"{self.bundle.path} has no graph that {self._variant.file} needs: export it again")
        if self._scales is None or self._scales[0] != styles.tobytes():
            self._scales = styles.tobytes(), self._session(product).run({"style": styles})
        return self._variant.condition, self._scales[1]

    def _parts(self, pictures: int, conditions: int) -> Iterator[slice]:
        """The batch in pieces that the variant takes."""
        most = 1 if self._variant.one_style and conditions > 1 else self._variant.max_batch or pictures
        for start in range(0, pictures, most):
            yield slice(start, start + most)


def _check_uint8(image: Any, what: str) -> None:
    if getattr(image, "dtype", None) != np.uint8:
        found = getattr(image, "dtype", type(image).__name__)
        raise TypeError(f"{what} is uint8 RGB, 0 to 255, not {found}")
