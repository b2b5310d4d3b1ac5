"""Translator: a bundle opened on an engine, which translates images in a given style, or generates them from styles."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL.Image import Image

from starcast.errors import BundleError, EngineError, StyleError
from starcast.images.fit import to_multiples
from starcast.images.python_inputs import one_image, some_images
from starcast.images.read import read_image
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.cores import granted_threads
from starcast.runtime.engines.base import EngineOptions
from starcast.runtime.engines.choose import open_variant
from starcast.runtime.engines.workload import CALLS, Work
from starcast.runtime.extra_inputs import ExtraCost
from starcast.runtime.manifest import Source
from starcast.runtime.memory import free_memory, total_memory
from starcast.runtime.noise import CONSTANT, NoiseChoice, NoiseMaker
from starcast.runtime.nvidia.placement import is_on_gpu
from starcast.runtime.style_layers import rows_of
from starcast.runtime.styles import StyleMaker
from starcast.runtime.variants import Variant


class Translator:
    """A bundle, opened on an engine.

        with Translator("my-model") as translator:
            style = translator.style(domain="dog", seed=7, psi=0.7)
            translations = translator(images, style)

    Threads may share it: their calls run one after the other, each on all of the engine's threads. A forked child may
    use it, too, or open its own, except on OpenVINO and GPU engines: there it gets EngineError, or MissingExtraError
    when it opens its own. Start such processes with multiprocessing's "spawn".
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
        remeasure: bool = False,
        work: Work = CALLS,
        beside: Collection[str] = (),
        progress: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Open the bundle. Raises BundleError, VariantMissingError, MissingExtraError, OptionError or EngineError.

        `bundle`: a folder, or what `open_bundle` returned. If `backend` or `precision` is auto, the fastest way to run
        the bundle is measured once on this machine, which takes up to 8 s; `progress` gets a line before and one after.
        `form` limits the choice to variants of one form. `threads`: at most as many as this process may use; None: all
        of them, or half if `work` is measured to be faster on half. `memory`: limit in GiB for the model's weights as
        the engine stores them, and for one batch; None: all the memory of the machine or container, and auto leaves out
        what needs more than half of the memory that is free, if anything remains. Batches shrink to fit, and images
        that are too large are refused. `cache`: folder for compiled models, engines and measurements; None: the user's
        cache. `remeasure`: measure even if an earlier start did. `work`: what the images come from and go to, which is
        measured with the engines; by default the engines are measured alone. `beside`: graphs of the bundle that will
        make styles or read labels, so that their memory is counted from the start; others are counted when they are
        first used.
        """
        self.bundle = bundle if isinstance(bundle, Bundle) else open_bundle(Path(bundle))
        limit = total_memory() if memory is None else int(memory * 2**30)
        options = EngineOptions(
            threads=granted_threads(threads), memory=limit, free=free_memory() if memory is None else None,
            beside=tuple(beside), cache=cache, remeasure=remeasure, progress=progress,
        )  # fmt: skip
        self._session = open_variant(self.bundle, backend, precision, form, options, work)
        self._styles = StyleMaker(self.bundle, self._session.run)
        self._noise = NoiseMaker(self.bundle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the engine for good. Closing twice is harmless; using the translator afterwards raises EngineError."""
        self._session.close()

    @property
    def backend(self) -> str:
        """Name of the engine."""
        return self._session.engine.name

    @property
    def variant(self) -> Variant:
        """The variant that runs: its form, precision and file."""
        return self._session.variant

    @property
    def batch(self) -> int:
        """Batch size that brings the engine close to its best rate without wasting memory."""
        return self._session.usual_batch

    @property
    def extra_cost(self) -> ExtraCost:
        """What the frame graph's extra inputs, such as masks of faces, cost so far. They are made once for a source,
        however many styles it is translated to."""
        return self._session.extra_inputs.cost

    def facts(self) -> dict[str, str]:
        """The engine's entry in a record."""
        return {"name": self.backend, "precision": self.variant.arithmetic, "form": self.variant.form_name}

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the domains, in the order of their numbers."""
        return self.bundle.manifest.domains

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) that the network was trained at."""
        return self.bundle.manifest.trained_size

    def style(
        self,
        domain: str | SupportsIndex | None = None,
        *,
        seed: int | None = None,
        latent: ArrayLike | None = None,
        psi: float = 1.0,
        reference: NDArray[np.uint8] | Image | str | Path | None = None,
        labels: Mapping[str, float] | None = None,
    ) -> NDArray[np.float32]:
        """The style vector [S] of a seed, a latent or a reference in a domain, or of labels; [layers, S] for a model
        whose layers have styles of their own.

        `domain`: a name or a number; a bundle with one or none needs none. `seed`: its latent is numpy's
        RandomState(seed).standard_normal. `latent`: float32 [L], or [N, L] for N styles at once. `reference`: a path,
        uint8 RGB [H, W, 3] of any size, or a Pillow image in any mode. `psi`: 1 keeps the style, 0 gives the mean style
        (the domain's, if there are domains), and values between blend the two. `labels`: named numbers, for models that
        are steered by them; a missing one is 0. Raises StyleError, ImageError, BundleError, EngineError, and TypeError
        or ValueError for a reference that is no image.
        """
        return self._styles.make(domain, seed=seed, latent=latent, reference=reference, labels=labels, psi=psi)

    def mean_style(self, domain: str | SupportsIndex | None = None) -> NDArray[np.float32]:
        """The mean style of a domain, [S] or [layers, S]: what psi 0 gives. Raises StyleError, BundleError."""
        return self._styles.mean(domain)

    def labels(
        self,
        *,
        set: Collection[str] = (),
        unset: Collection[str] = (),
        flip: Collection[str] = (),
        has: Collection[str] | None = None,
        image: NDArray[np.uint8] | Image | str | Path | None = None,
    ) -> NDArray[np.float32]:
        """The style vector [S] that changes some attributes of an image that has the attributes `has`.

        Without `has`, the attributes are read from `image`, if the bundle can read them (`read_labels`). Setting a hair
        colour unsets the others. For a model of classes, `set` names one class, and nothing else is needed. Raises
        StyleError, and what `read_labels` raises.
        """
        return self._styles.change(set, unset, flip, has, image)

    def read_labels(self, image: NDArray[np.uint8] | Image | str | Path) -> tuple[str, ...]:
        """The attributes that an image has, in the bundle's order, according to the bundle's classifier (that of the
        model's discriminator).

        `image`: a path, uint8 RGB [H, W, 3] of any size, or a Pillow image; it is resized to the trained size. Raises
        StyleError if the bundle has no classifier, ImageError, BundleError, EngineError, and TypeError or ValueError
        for what is no image.
        """
        return self._styles.read_labels(image)

    def landmarks(self, image: NDArray[np.uint8] | Image | str | Path) -> NDArray[np.float32]:
        """The landmarks [98, 2] of a face that fills an image, (x, y) in its pixels, in the order of WFLW.

        `image`: a path, uint8 RGB [H, W, 3] of any size, or a Pillow image. Raises BundleError if the bundle is no face
        model's, or was exported before such bundles had a graph for landmarks, ImageError, EngineError, and TypeError
        or ValueError for what is no image.
        """
        if isinstance(image, str | Path):
            image = read_image(image)
        return self._session.landmarks.find(one_image(image, "an image"))

    def heatmaps(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What `landmarks` are read from: a map for each landmark [98, h, w], of an image uint8 RGB [H, W, 3] that a
        face fills. Raises BundleError and EngineError, as `landmarks` does."""
        heatmaps: NDArray[np.float32] = self._session.landmarks.heatmaps(np.ascontiguousarray(image)[None])[0]
        return heatmaps

    def __call__(
        self, images: NDArray[np.uint8] | Image | Sequence[NDArray[np.uint8] | Image], style: ArrayLike
    ) -> NDArray[np.uint8]:
        """Translate uint8 RGB images [N, H, W, 3] or one [H, W, 3]; the translations have the same shape.

        A Pillow image in any mode is read as `read_image` reads a file: upright, in sRGB, on white. A list holds images
        of one size, of either kind.

        Sides that are not multiples of the bundle's stride are extended to the next multiple by mirroring, and the
        translation is cut back. `style` is [S] or [1, S] for all images, or [N, S]. Raises TypeError or ValueError for
        unsuitable images, StyleError for unsuitable styles, and EngineError.

        GPU engines also accept images [N, H, W, 3] on the GPU, as any object that supports DLPack or
        `__cuda_array_interface__`; their sides must be multiples of the stride. The translations stay on the GPU and
        support both.
        """
        if self.bundle.manifest.source is None:
            raise BundleError(f"{self.bundle.path} makes images from styles alone: call Translator.generate(styles)")
        if is_on_gpu(images):
            return self._translate_on_gpu(images, style)
        batch, is_one = some_images(images)
        self._check_size(batch)
        styles = self._check_styles(style, len(batch))
        if not len(batch):
            return batch.copy()
        height, width = batch.shape[1:3]
        whole = self._session(to_multiples(batch, self._source.stride), styles)
        translations = whole if whole.shape == batch.shape else np.ascontiguousarray(whole[:, :height, :width])
        return translations[0] if is_one else translations

    def generate(self, styles: ArrayLike, noise: NoiseChoice = CONSTANT) -> NDArray[np.uint8]:
        """Make images of the trained size from styles alone: uint8 [N, H, W, C], grey, RGB or RGBA.

        `styles`: [N, layers, S], one style an image; [layers, S] for one image; [S], or [N, S], for images whose layers
        share one vector. [N, S] with as many rows as the model has layers is read as one [layers, S]. To mix styles,
        put rows of one into another: the first rows shape the coarse layers.

        `noise`: `constant` (the checkpoint's own, else a fixed seed's), `zero`, a seed, a list of seeds (one for each
        image), or a list of arrays [N or 1, 1, h, w] in the order of the layers. One seed gives each image noise of its
        own, and the first k images the same noise in a batch of any size.

        Raises StyleError for unsuitable styles or noise, BundleError for a bundle that translates, and EngineError.
        """
        manifest = self.bundle.manifest
        if manifest.output is None:
            raise BundleError(f"{self.bundle.path} translates images: call the translator with an image and a style")
        rows = rows_of(styles, manifest.condition)
        feeds = self._noise.make(noise, len(rows))
        height, width = manifest.trained_size
        reason = self._session.why_not(height, width)
        if reason is not None:
            raise EngineError(f"{self.bundle.path} makes images of {width}x{height}: {reason}")
        if not len(rows):
            return np.empty((0, height, width, manifest.output.channels), np.uint8)
        return self._session.generate(rows, feeds)

    def why_not(self, height: int, width: int) -> str | None:
        """Why images of that size cannot be translated, as a clause; None if they can."""
        stride = self._source.stride
        return self._session.why_not(height + -height % stride, width + -width % stride)

    @property
    def _source(self) -> Source:
        return self.bundle.source

    def _translate_on_gpu(self, images: Any, style: ArrayLike) -> NDArray[np.uint8]:
        if not self._session.engine.on_gpu:
            raise EngineError(f"{self.backend} takes no images on the GPU: pass NumPy arrays, or give --backend cuda")
        shape, stride, channels = tuple(images.shape), self._source.stride, self._source.channels
        if len(shape) != 4 or not all(shape) or shape[3] != channels or any(side % stride for side in shape[1:3]):
            raise ValueError(
                f"sources on the GPU are [N, H, W, {channels}] with sides that are multiples of {stride}, "
                f"not {list(shape)}"
            )
        reason = self.why_not(shape[1], shape[2])
        if reason is not None:
            raise ValueError(f"sources are {shape[2]}x{shape[1]}: {reason}")
        return self._session(images, self._check_styles(style, shape[0]))

    def _check_size(self, batch: NDArray[np.uint8]) -> None:
        height, width = batch.shape[1:3]
        reason = self.why_not(height, width)
        if reason is not None:
            raise ValueError(f"sources are {width}x{height}: {reason}")

    def _check_styles(self, style: ArrayLike, images: int) -> NDArray[np.float32]:
        """float32 [1, S] or [N, S]. Raises StyleError."""
        styles = np.ascontiguousarray(style, np.float32)
        size = self.bundle.manifest.condition.size
        rows = styles[None] if styles.ndim == 1 else styles
        if rows.ndim != 2 or rows.shape[1] != size or len(rows) not in (1, images):
            raise StyleError(
                f"the style has the shape {list(np.shape(style))}: give [{size}] for all images, or [{images}, {size}] "
                "for one each"
            )
        if not np.isfinite(rows).all():
            raise StyleError("the style holds numbers that are not finite: make it with Translator.style")
        return rows
