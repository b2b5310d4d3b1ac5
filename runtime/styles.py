"""Turn a seed, a reference or labels into a style vector, in the same way for every command."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from starcast.errors import BundleError, ImageError, StyleError, printable
from starcast.images.fit import fit
from starcast.images.python_inputs import one_image
from starcast.images.read import read_image, read_stored
from starcast.runtime.bundle import Bundle
from starcast.runtime.domains import domain_index
from starcast.runtime.labels import label_vector, target_labels
from starcast.runtime.manifest import LabelMaker
from starcast.runtime.seed_lists import LARGEST_SEED
from starcast.runtime.stages import open_pool
from starcast.runtime.stored_arrays import read_means
from starcast.runtime.style_layers import spread
from starcast.runtime.style_requests import StyleRequest

_READERS = 3
_PART = 1024  # latents that are mapped at once

Feeds = Mapping[str, NDArray[Any]]
Align = Callable[[NDArray[np.uint8], Path], NDArray[np.uint8]]


def draw_latents(source: int | np.random.RandomState, count: int, size: int) -> NDArray[np.float32]:
    """Latents, float32 [count, size], from a seed, or the next ones of a random stream. A seed always starts with the
    same latent, so seed 7 is the same style in every command."""
    draws = np.random.RandomState(source) if isinstance(source, int) else source
    return draws.standard_normal((count, size)).astype(np.float32)


def make_styles(
    requests: Sequence[StyleRequest],
    make: Callable[..., NDArray[np.float32]],
    progress: Callable[[str], None],
    align: Align | None = None,
) -> NDArray[np.float32]:
    """Styles, float32 [requests, S]; `make` is `Translator.style`. Consecutive uses of a reference decode it once.

    `align` turns a reference's image, which it gets with the path, into the one whose style is taken. `progress` gets a
    line for each remark about a reference's file.
    """
    styles, path, image = [], None, None
    remarks: dict[str, None] = {}
    for request in requests:
        if request.vector is not None:
            styles.append(np.array(request.vector, np.float32))
            continue
        arguments = request.arguments
        if request.reference is not None:
            if request.reference != path:
                path, stored = request.reference, read_stored(request.reference)
                image, notes = stored.pixels, stored.notes
                remarks |= dict.fromkeys(f"{printable(path)} {note}" for note in notes)
                if align is not None:
                    image = align(image, path)
            arguments["reference"] = image
        styles.append(make(**arguments))
    for remark in remarks:
        progress(remark)
    return np.stack(styles)


def readable_requests(requests: Sequence[StyleRequest], fail: Callable[[str], None]) -> list[StyleRequest]:
    """The requests without those whose reference cannot be read: `fail` gets a sentence for each such file.

    Raises ImageError if no request is left.
    """
    paths = dict.fromkeys(request.reference for request in requests if request.reference is not None)
    if len(paths) < 2:  # the only one is read once, and its error is the command's
        return list(requests)
    with open_pool(_READERS) as readers:
        errors = {path: error for path, error in zip(paths, readers.map(error_of, paths), strict=True) if error}
    readable = [request for request in requests if request.reference not in errors]
    if not readable:
        raise next(iter(errors.values()))
    for error in errors.values():
        fail(f"{error}; the other references are used")
    return readable


def error_of(path: Path) -> ImageError | None:
    """Why an image cannot be read, or None. JPEGs are decoded at a reduced size, which shows damage as well."""
    try:
        read_stored(path, at_least=(1, 1))
    except ImageError as error:
        return error
    return None


class StyleMaker:
    """Makes the styles of a bundle. `run` runs one of its graphs on named inputs and returns the output."""

    def __init__(self, bundle: Bundle, run: Callable[[str, Feeds], NDArray[Any]]) -> None:
        self._bundle = bundle
        self._condition = bundle.manifest.condition
        self._run = run

    def make(
        self,
        domain: str | SupportsIndex | None,
        *,
        seed: int | None,
        latent: Any,
        reference: Any,
        labels: Mapping[str, float] | None,
        psi: float,
    ) -> NDArray[np.float32]:
        """The style; `Translator.style` describes it and the arguments."""
        if [seed is None, latent is None, reference is None, labels is None].count(False) != 1:
            raise StyleError("a style is made from a seed, a latent, a reference or labels: give one of them")
        if not math.isfinite(psi):
            raise StyleError(f"psi is {psi}: give a number, 0 for the mean style and 1 for the style itself")
        if labels is not None:
            style = self._from_labels(labels, domain, psi)
        else:
            number = self._domain(domain)
            if seed is not None:
                style = self._from_seed(seed, number)
            elif latent is not None:
                style = self._from_latent(latent, number)
            else:
                style = self._from_reference(reference, number)
            if psi != 1:
                mean = self._means[number or 0]
                style = np.asarray(mean + np.float32(psi) * (style - mean), np.float32)
        return spread(style, self._condition.layers)

    def mean(self, domain: str | SupportsIndex | None) -> NDArray[np.float32]:
        """The mean style of a domain, in the shape of one style: what psi 0 gives."""
        return spread(self._means[self._domain(domain) or 0], self._condition.layers)

    def _domain(self, domain: str | SupportsIndex | None) -> int | None:
        """The domain's number; None if the bundle has none. Raises StyleError."""
        domains = self._bundle.manifest.domains
        if domains:
            return domain_index(domain, domains)
        if domain is not None:
            raise StyleError(f"{self._bundle.path} has no domains, only one kind of image: leave out the domain")
        return None

    def _from_seed(self, seed: Any, domain: int | None) -> NDArray[np.float32]:
        maker = self._condition.latent
        if maker is None:
            raise StyleError(f"{self._bundle.path} makes no styles from seeds: give {self._others('a seed')}")
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed <= LARGEST_SEED:
            raise StyleError(f"the seed is {seed!r}: give a whole number from 0 to {LARGEST_SEED}")
        return self._make_one(maker.graph, {"latent": draw_latents(int(seed), 1, maker.size)}, domain)

    def _from_latent(self, latent: Any, domain: int | None) -> NDArray[np.float32]:
        """[S] for one latent [L], [N, S] for several [N, L]."""
        maker = self._condition.latent
        if maker is None:
            raise StyleError(f"{self._bundle.path} makes no styles from latents: give {self._others('a seed')}")
        try:
            latents = np.ascontiguousarray(latent, np.float32)
        except (TypeError, ValueError) as error:
            raise StyleError(f"the latent is not an array of numbers ({error}): give float32 [{maker.size}]") from error
        rows = latents[None] if latents.ndim == 1 else latents
        if rows.ndim != 2 or not len(rows) or rows.shape[1] != maker.size:
            raise StyleError(
                f"the latent has the shape {list(np.shape(latent))}: give [{maker.size}] for one style, or "
                f"[N, {maker.size}] for several"
            )
        if not np.isfinite(rows).all():
            raise StyleError("the latent holds numbers that are not finite: replace infinity and NaN")
        styles = [
            self._make(maker.graph, {"latent": rows[start : start + _PART]}, domain)
            for start in range(0, len(rows), _PART)
        ]
        whole: NDArray[np.float32] = np.concatenate(styles)
        return whole if latents.ndim == 2 else whole[0]

    def _from_reference(self, reference: Any, domain: int | None) -> NDArray[np.float32]:
        maker = self._condition.reference
        if maker is None:
            raise StyleError(f"{self._bundle.path} makes no styles from references: give {self._others('a reference')}")
        if isinstance(reference, str | Path):
            reference = read_image(reference)
        image = fit(one_image(reference, "a reference"), (maker.height, maker.width), "stretch")
        return self._make_one(maker.graph, {"image": np.ascontiguousarray(image)[None]}, domain)

    def _from_labels(self, labels: Mapping[str, float], domain: object, psi: float) -> NDArray[np.float32]:
        maker = self._label_maker
        if domain is not None or psi != 1:
            raise StyleError("labels determine the whole style: leave out domain and psi")
        return label_vector(maker, labels)

    def change(
        self, on: Collection[str], off: Collection[str], flip: Collection[str], has: Collection[str] | None, image: Any
    ) -> NDArray[np.float32]:
        """The style vector [S] of changed labels; `Translator.labels` describes the arguments."""
        maker = self._label_maker
        for argument, names in {"set": on, "unset": off, "flip": flip, "has": has}.items():
            if isinstance(names, str):
                raise StyleError(f"{argument} is {names!r}: give a list of labels, such as [{names!r}]")
        if has is None and image is not None and not any(name in maker.class_names for name in on):
            has = self.read_labels(image)
        return target_labels(maker, on=on, off=off, flip=flip, has=has)

    def read_labels(self, image: Any) -> tuple[str, ...]:
        """The attributes that an image has; `Translator.read_labels` describes it."""
        maker = self._label_maker
        classifier = maker.classifier
        if classifier is None:
            raise StyleError(f"{self._bundle.path} cannot read an image's attributes: list them in `has`")
        if isinstance(image, str | Path):
            image = read_image(image)
        fitted = fit(one_image(image, "an image"), (classifier.height, classifier.width), "stretch")
        logits = self._run(classifier.graph, {"image": np.ascontiguousarray(fitted)[None]})
        if logits.shape != (1, len(maker.names)):
            raise BundleError(
                f"{self._bundle.path / classifier.graph} gives logits of the shape {list(logits.shape)} instead of "
                f"{[1, len(maker.names)]}: export the bundle again"
            )
        return tuple(name for name, logit in zip(maker.attribute_names, logits[0], strict=False) if logit > 0)

    @property
    def _label_maker(self) -> LabelMaker:
        maker = self._condition.labels
        if maker is None:
            raise StyleError(f"{self._bundle.path} takes no labels: give {self._others('labels')}")
        return maker

    def _others(self, unwanted: str) -> str:
        """What else the bundle makes styles from, such as `a reference or labels`."""
        condition = self._condition
        ways = {"a seed": condition.latent, "a reference": condition.reference, "labels": condition.labels}
        here = [name for name, maker in ways.items() if maker is not None and name != unwanted]
        return " or ".join(here) or "a style vector to the translator"

    def _make_one(self, graph: str, feeds: Feeds, domain: int | None) -> NDArray[np.float32]:
        style: NDArray[np.float32] = self._make(graph, feeds, domain)[0]
        return style

    def _make(self, graph: str, feeds: Feeds, domain: int | None) -> NDArray[np.float32]:
        """The styles [N, S] that a graph makes of its only feed [N, …]."""
        [count] = {len(feed) for feed in feeds.values()}
        numbers = {} if domain is None else {"domain": np.full(count, domain, np.int64)}
        styles = self._run(graph, {**feeds, **numbers})
        if styles.shape != (count, self._condition.size):
            raise BundleError(
                f"{self._bundle.path / graph} makes a style of the shape {list(styles.shape)} instead of "
                f"{[count, self._condition.size]}: export the bundle again"
            )
        return np.array(styles, np.float32)

    @cached_property
    def _means(self) -> NDArray[np.float32]:
        """Each domain's mean style, float32 [domains, S]; [1, S] for a bundle without domains."""
        if self._condition.means is None:
            raise StyleError(f"{self._bundle.path} has no mean styles, which psi needs: leave psi at 1")
        return read_means(self._bundle.file(self._condition.means), self._bundle.manifest.mean_shape)
