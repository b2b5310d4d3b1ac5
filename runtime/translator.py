"""Translator: a bundle opened on an engine, from pictures and styles to pictures."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from starcast.errors import BundleError, EngineError, StyleError
from starcast.images.fit import fit, to_multiples
from starcast.runtime import machine
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.cores import granted_threads
from starcast.runtime.engines.base import EngineOptions
from starcast.runtime.engines.choose import open_variant
from starcast.runtime.manifest import Source, Variant
from starcast.runtime.nvidia.arrays import is_on_gpu
from starcast.runtime.style_requests import LARGEST_SEED, domain_index


class Translator:
    """A bundle, opened on an engine.

        with Translator("my-model") as translator:
            style = translator.style(domain="dog", seed=7, psi=0.7)
            translations = translator(images, style)

    Use it from one thread at a time; open one for each thread that translates.
    """

    def __init__(
        self,
        bundle: str | Path | Bundle,
        *,
        backend: str = "auto",
        precision: str = "fp32",
        form: str | None = None,
        threads: int | None = None,
        memory: float | None = None,
        cache: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """`bundle` is a folder, or what `open_bundle` gave. Raises BundleError, VariantMissingError, MissingExtraError,
        OptionError or EngineError.

        With `backend` auto, or `precision` auto, what runs the bundle fastest is measured once on this machine, which
        takes up to 8 s; `say` gets a line before and one after. `form` leaves the choice among variants of one form.
        `threads` None: as many as this process may use; more than those are not taken. `memory` is the most GiB that
        translating may take beside the weights, by default all that the machine or the container has: batches are cut
        to it, and pictures that are too large for it are refused. `cache`: folder for compiled models, engines and what
        was measured; None: the user's.
        """
        self.bundle = bundle if isinstance(bundle, Bundle) else open_bundle(Path(bundle))
        limit = machine.memory() if memory is None else int(memory * 2**30)
        options = EngineOptions(threads=granted_threads(threads), memory=limit, cache=cache, progress=say)
        self._session = open_variant(self.bundle, backend, precision, form, options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free what the engine holds, for good. Closing twice is harmless; using it afterwards raises EngineError."""
        self._session.close()

    @property
    def backend(self) -> str:
        """Name of the engine."""
        return self._session.engine.name

    @property
    def variant(self) -> Variant:
        """What runs: its form, its precision, its file."""
        return self._session.variant

    @property
    def batch(self) -> int:
        """Pictures at a time with which the engine is about at its best rate, and takes no memory for nothing."""
        return self._session.engine.best_batch(self.variant.precision)

    def facts(self) -> dict[str, str]:
        """What a record says of the engine."""
        return {"name": self.backend, "precision": self.variant.arithmetic, "form": self.variant.form_name}

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

        Sides that are no multiples of the bundle's stride are mirrored up to the next one, and the translation is cut
        back. `style` is [S] or [1, S] for all of them, or [N, S]. Raises TypeError or ValueError for pictures of
        another kind, StyleError for other styles, EngineError.

        With an engine of a graphics card, pictures [N, H, W, 3] may be there already, in anything that speaks DLPack
        or has `__cuda_array_interface__`; then the translations stay there, and speak both. Sides are multiples of
        the stride then.
        """
        if is_on_gpu(images):
            return self._on_card(images, style)
        images = np.asarray(images)
        batch = images[None] if images.ndim == 3 else images
        self._check_pictures(images, batch)
        styles = self._checked_styles(style, len(batch))
        if not len(batch):
            return batch.copy()
        height, width = batch.shape[1:3]
        whole = self._session(to_multiples(batch, self._source.stride), styles)
        translations = whole if whole.shape == batch.shape else np.ascontiguousarray(whole[:, :height, :width])
        return translations[0] if images.ndim == 3 else translations

    def _on_card(self, images: Any, style: ArrayLike) -> NDArray[np.uint8]:
        if not self._session.engine.on_gpu:
            raise EngineError(
                f"{self.backend} takes no pictures from a graphics card: hand over numpy's, or give --backend cuda"
            )
        shape, stride, channels = tuple(images.shape), self._source.stride, self._source.channels
        if len(shape) != 4 or not all(shape) or shape[3] != channels or any(side % stride for side in shape[1:3]):
            raise ValueError(
                f"sources on the card are [N, H, W, {channels}] with sides that are multiples of {stride}, "
                f"not {list(shape)}"
            )
        reason = self.why_not(shape[1], shape[2])
        if reason is not None:
            raise ValueError(f"sources are {shape[2]}x{shape[1]}: {reason}")
        return self._session(images, self._checked_styles(style, shape[0]))

    def why_not(self, height: int, width: int) -> str | None:
        """Why pictures of that size cannot be translated, or None."""
        stride = self._source.stride
        return self._session.why_not(height + -height % stride, width + -width % stride)

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
            from starcast.images.read import read_image

            reference = read_image(reference, limit_flag=None)
        _check_uint8(reference, "a reference")
        if reference.ndim != 3 or reference.shape[2] != 3 or not reference.size:
            raise ValueError(f"a reference is a picture [H, W, 3], not {list(reference.shape)}")
        picture = fit(reference, (maker.height, maker.width), "stretch")
        return self._made(maker.graph, {"image": np.ascontiguousarray(picture)[None]}, domain)

    def _made(self, graph: str, feeds: dict[str, NDArray[Any]], domain: int) -> NDArray[np.float32]:
        style = self._session.session(graph).run({**feeds, "domain": np.array([domain], np.int64)})
        return np.array(style[0], np.float32)

    def _check_pictures(self, images: NDArray[Any], batch: NDArray[Any]) -> None:
        _check_uint8(images, "a source")
        if batch.ndim != 4 or batch.shape[3] != self._source.channels:
            raise ValueError(
                f"sources are [N, H, W, {self._source.channels}] or one [H, W, {self._source.channels}], "
                f"not {list(images.shape)}"
            )
        height, width = batch.shape[1:3]
        if not height or not width:
            raise ValueError(f"sources are {width}x{height}: there is nothing to translate")
        reason = self.why_not(height, width)
        if reason is not None:
            raise ValueError(f"sources are {width}x{height}: {reason}")

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


def _check_uint8(image: Any, what: str) -> None:
    if getattr(image, "dtype", None) != np.uint8:
        found = getattr(image, "dtype", type(image).__name__)
        raise TypeError(f"{what} is uint8 RGB, 0 to 255, not {found}")
