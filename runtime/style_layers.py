"""Styles by layer: a model may give each of its layers a style vector of its own, [layers, S]."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from starcast.errors import StyleError
from starcast.runtime.manifest import Condition

Styles = NDArray[np.float32]


def spread(styles: Styles, layers: int | None) -> Styles:
    """Give each layer a copy of the vector: [S] becomes [layers, S], and [N, S] becomes [N, layers, S]. With `layers`
    None, the styles are returned unchanged."""
    return styles if layers is None else np.repeat(styles[..., None, :], layers, axis=-2)


def mix(coarse: Styles, fine: Styles, layer: int) -> Styles:
    """Mix two styles [layers, S]: the first `layer` rows are from `coarse`, the others from `fine`."""
    return np.concatenate([coarse[:layer], fine[layer:]])


def rows_of(styles: ArrayLike, condition: Condition) -> Styles:
    """The styles of N images, float32 [N, layers, S], or [N, S] for a model without layers. Raises StyleError.

    `styles` is such an array, or one image's [layers, S], or has one vector for all layers: [S] or [N, S]. A matrix
    with as many rows as there are layers is one image's.
    """
    try:
        given = np.asarray(styles, np.float32, order="C")
    except (TypeError, ValueError) as error:
        raise StyleError(f"the styles are not an array of numbers ({error}): use those of Translator.style") from error
    layers, size = condition.layers, condition.size
    shape = given.shape
    if given.ndim == 0 or shape[-1] != size or shape[1:-1] not in ((), (layers,)) or given.ndim > 3:
        wanted = f"[{size}] or [N, {size}]" if layers is None else f"[{layers}, {size}] or [N, {layers}, {size}]"
        raise StyleError(f"the styles have the shape {list(shape)}: give {wanted}")
    if not np.isfinite(given).all():
        raise StyleError("the styles hold numbers that are not finite: make them with Translator.style")
    if given.ndim == 3:
        return given
    if layers is None:
        return given if given.ndim == 2 else given[None]
    if given.ndim == 2 and len(given) == layers:
        return given[None]
    return spread(given if given.ndim == 2 else given[None], layers)
