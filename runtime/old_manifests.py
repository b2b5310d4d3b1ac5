"""Upgrade manifests of formats 1 and 2 to format 3.

The old formats have no fields for a graph's weight files and for how its norms are written: file names and form names
imply both.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import msgspec

_WEIGHTS = ".data"  # weights of ONNX graphs: a file for each graph, or one for all graphs of a folder
_NCNN_GRAPH, _NCNN_WEIGHTS = ".param", ".bin"


class _Counted(msgspec.Struct):
    pictures: int


class _Quality(msgspec.Struct):
    domains: dict[str, _Counted]


class _Variant(msgspec.Struct):
    file: str
    backends: list[str]
    form: str
    parity: _Counted | None = None
    quality: _Quality | None = None


class _Maker(msgspec.Struct):
    graph: str


class _Condition(msgspec.Struct):
    product: str | None = None
    latent: _Maker | None = None
    reference: _Maker | None = None


class _OldManifest(msgspec.Struct):
    """The fields that format 3 changed."""

    condition: _Condition
    variants: list[_Variant]
    files: dict[str, Any]


def upgrade(manifest: dict[str, Any], to: int) -> dict[str, Any]:
    """The JSON of a manifest of format 1 or 2, converted to format 3. Raises msgspec.ValidationError."""
    old = msgspec.convert(manifest, _OldManifest)
    condition = manifest["condition"]
    for role in ("latent", "reference"):
        maker = getattr(old.condition, role)
        if maker is not None:
            condition[role]["weights"] = _weights_of(maker.graph, old.files)
    product = old.condition.product
    if product is not None:
        condition["product"] = {"graph": product, "weights": _weights_of(product, old.files)}
    for known, variant in zip(old.variants, manifest["variants"], strict=True):
        form, adain = _norms_of(known)
        weights = _weights_of(known.file, old.files)
        del variant["backends"]
        for figures in _figures(known, variant):
            figures["images"] = figures.pop("pictures")
        variant.update(engines=known.backends, form=form, adain=adain, weights=weights)
    return manifest | {"format": to}


def _figures(known: _Variant, variant: dict[str, Any]) -> list[dict[str, Any]]:
    """The gates' measurements, each with its number of images."""
    parity = [variant["parity"]] if known.parity is not None else []
    return parity + (list(variant["quality"]["domains"].values()) if known.quality is not None else [])


def _norms_of(variant: _Variant) -> tuple[str, str]:
    """(form, how its norms are written). Old form names end in the latter, unless it is the usual one."""
    for adain in ("plugin", "unfused"):
        if variant.form.endswith(f"-{adain}"):
            return variant.form.removesuffix(f"-{adain}"), adain
    return variant.form, "fused" if any(engine.startswith("tensorrt") for engine in variant.backends) else "native"


def _weights_of(graph: str, files: dict[str, Any]) -> list[str]:
    """The weight file with the graph's name, or with that name up to its last dash (the same weights with another
    `rest`); otherwise every weight file in the graph's folder."""
    path = PurePosixPath(graph)
    if path.suffix == _NCNN_GRAPH:
        return [str(path.with_suffix(_NCNN_WEIGHTS))]
    for stem in (path.stem, path.stem.rpartition("-")[0]):
        own = str(path.with_name(f"{stem}{_WEIGHTS}")) if stem else ""
        if own in files:
            return [own]
    others = map(PurePosixPath, sorted(files))
    return [str(file) for file in others if file.parent == path.parent and file.suffix == _WEIGHTS]
