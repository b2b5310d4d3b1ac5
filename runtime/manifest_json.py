"""manifest.json as bytes: written, and read with distrust, because bundles come from strangers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec

from starcast.errors import BundleError
from starcast.runtime.manifest import (
    FORMAT,
    Classifier,
    Condition,
    ExtraInput,
    GraphFiles,
    LabelMaker,
    LandmarkMaker,
    LatentMaker,
    Manifest,
    Noise,
    NoiseInput,
    Output,
    Reads,
    ReferenceMaker,
    Source,
)
from starcast.runtime.manifest_bounds import (
    CHANNELS,
    LARGEST_EXTRA,
    LARGEST_MEANS,
    LARGEST_NOISE,
    LARGEST_VECTOR,
    MOST_LAYERS,
)
from starcast.runtime.old_manifests import upgrade
from starcast.runtime.variants import Adain, Rest, Takes, Variant


def encode(manifest: Manifest) -> bytes:
    """manifest.json as bytes, indented."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode(content: bytes, path: Path) -> Manifest:
    """The manifest in manifest.json's bytes, converted to the current format. Raises BundleError, which names `path`.

    Unknown fields are ignored where they only describe: at the top level, in provenance, files, parity, quality and
    norms. Where they would decide how an image or a style is made, the bundle is refused.
    """
    raw = _load(content, path)
    _check_format(raw, path)
    try:
        if raw["format"] < FORMAT:
            raw = upgrade(raw, FORMAT)
        _check_extra_inputs(raw, path)
        _check_known(raw, path)
        manifest = msgspec.convert(raw, type=Manifest)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BundleError(f"{path} is damaged ({_cut(str(error))}): export the bundle again") from error
    reason = _contradiction(manifest)
    if reason is not None:
        raise BundleError(f"{path} is damaged ({reason}): export the bundle again")
    return manifest


def _contradiction(manifest: Manifest) -> str | None:
    """Which of the manifest's values are impossible, or contradict each other, as a clause, or None."""
    domains, condition, source = manifest.domains, manifest.condition, manifest.source
    if (source is None) == (manifest.output is None):
        return "it has both a source and an output" if source is not None else "it has neither a source nor an output"
    if source is not None and (condition.layers is not None or manifest.noise is not None):
        return "it has styles with layers, or noise, beside a source"
    if not _are_names(domains) or (source is not None and not domains):
        return f"its domains are {_cut(repr(list(domains)))}"
    labels = condition.labels
    if labels is not None and (
        not _are_names(labels.names) or labels.classes > len(labels.names) or labels.size != condition.size
    ):
        return f"its labels are {_cut(repr(list(labels.names)))}"
    if condition.means is not None and math.prod(manifest.mean_shape) > LARGEST_MEANS:
        return f"it has mean styles of {condition.size} numbers for {len(domains)} domains"
    if math.prod(condition.shape) > LARGEST_VECTOR:
        return f"its styles have {condition.layers} layers of {condition.size} numbers"
    if manifest.noise is not None and not _is_possible(manifest.noise):
        return f"its noise is {_cut(repr([(one.name, one.height, one.width) for one in manifest.noise.inputs]))}"
    if manifest.extra_inputs and not _are_possible(manifest.extra_inputs, source):
        return (
            f"its extra inputs are {_cut(repr([(one.name, one.height, one.width) for one in manifest.extra_inputs]))}"
        )
    maps = manifest.landmarks
    if maps is not None and (source is None or maps.points * maps.height * maps.width > LARGEST_EXTRA):
        return f"it has {maps.points} heatmaps of {maps.width}x{maps.height}{'' if source else ' without a source'}"
    if maps is None and any(one.reads == "heatmaps" for one in manifest.extra_inputs):
        return "its extra inputs read heatmaps that it does not make"
    if source is None:
        return None
    if source.channels != CHANNELS:
        return f"its images have {source.channels} channels instead of {CHANNELS}"
    sizes = [(source.height, source.width), *(size for variant in manifest.variants for size in variant.sizes or ())]
    for height, width in sizes:
        if height % source.stride or width % source.stride:
            return f"{width}x{height} is not a multiple of its stride {source.stride}"
    return None


def _are_names(names: tuple[str, ...]) -> bool:
    """Whether each can be shown and typed, and none is there twice."""
    return all(name and name.isprintable() for name in names) and len(set(names)) == len(names)


def _is_possible(noise: Noise) -> bool:
    """Whether noise inputs have names of their own, beside the condition's, and a reasonable size."""
    names = [one.name for one in noise.inputs]
    taken = {"image", *get_args(Takes)}
    return (
        0 < len(names) <= MOST_LAYERS
        and _are_names(tuple(names))
        and not taken & set(names)
        and noise.size <= LARGEST_NOISE
    )


def _are_possible(extras: tuple[ExtraInput, ...], source: Source | None) -> bool:
    """Whether extra inputs have names of their own and a reasonable size, for a bundle that has a source."""
    names = tuple(one.name for one in extras)
    numbers = sum(one.channels * one.height * one.width for one in extras)
    taken = {"image", *get_args(Takes)}
    return source is not None and _are_names(names) and not taken & set(names) and numbers <= LARGEST_EXTRA


def _check_extra_inputs(raw: dict[str, Any], path: Path) -> None:
    """Raise BundleError for an extra input that no graph of the bundle makes."""
    extras = raw.get("extra_inputs")
    unknown = (
        [one for one in extras if isinstance(one, dict) and "graph" not in one] if isinstance(extras, list) else []
    )
    if unknown:
        names = ", ".join(_cut(repr(one.get("name"))) for one in unknown[:10])
        raise BundleError(f"{path} needs the extra input {names}, which this starcast cannot make: update starcast")


def _cut(text: str, most: int = 200) -> str:
    """A stranger's text, short enough for a sentence."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _load(content: bytes, path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{path} is not a manifest in JSON ({error}): export the bundle again") from error


def _check_format(raw: dict[str, Any], path: Path) -> None:
    declared = raw.get("format")
    if type(declared) is not int or declared < 1:
        raise BundleError(f"{path} has no format number, so it is not starcast's: export the bundle again")
    if declared > FORMAT:
        raise BundleError(f"{path} has format {declared}, newer than this starcast knows ({FORMAT}): update starcast")


def _check_known(raw: dict[str, Any], path: Path) -> None:
    """Raise BundleError for an unknown field, or an unknown value, that decides how to run the bundle."""
    for place, part, type_ in _parts(raw):
        unknown = [_cut(repr(name)) for name in part if name not in type_.__struct_fields__]
        for name, known in _CHOICES.get(type_, {}).items():
            if isinstance(part.get(name), str) and part[name] not in known:
                unknown.append(f"{name} {_cut(repr(part[name]))}")
        if unknown:
            names = ", ".join(unknown[:10])
            raise BundleError(f"{path} has {names} in its {place}, which this starcast does not know: update starcast")


def _parts(raw: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], type[msgspec.Struct]]]:
    """Name, JSON and type of every part that decides how images and styles are made. Damaged parts are left to
    the decoder, which raises."""
    yield from ((name, raw[name], type_) for name, type_ in _MAIN.items() if isinstance(raw.get(name), dict))
    condition = raw.get("condition")
    if isinstance(condition, dict):
        roles = ((f"condition.{name}", condition.get(name), type_) for name, type_ in _ROLES.items())
        yield from ((place, role, type_) for place, role, type_ in roles if isinstance(role, dict))
        labels = condition.get("labels")
        if isinstance(labels, dict) and isinstance(labels.get("classifier"), dict):
            yield "condition.labels.classifier", labels["classifier"], Classifier
    noise = raw.get("noise")
    inputs = noise.get("inputs") if isinstance(noise, dict) else None
    if isinstance(inputs, list):
        yield from (("noise", one, NoiseInput) for one in inputs if isinstance(one, dict))
    extras = raw.get("extra_inputs")
    if isinstance(extras, list):
        yield from (("extra_inputs", one, ExtraInput) for one in extras if isinstance(one, dict))
    variants = raw.get("variants")
    if isinstance(variants, list):
        yield from (("variants", variant, Variant) for variant in variants if isinstance(variant, dict))


_MAIN: dict[str, type[msgspec.Struct]] = {
    "source": Source,
    "output": Output,
    "condition": Condition,
    "noise": Noise,
    "landmarks": LandmarkMaker,
}
_ROLES: dict[str, type[msgspec.Struct]] = {
    "product": GraphFiles,
    "latent": LatentMaker,
    "reference": ReferenceMaker,
    "labels": LabelMaker,
}
# fields whose values decide how a part is run
_CHOICES: dict[type[msgspec.Struct], dict[str, tuple[str, ...]]] = {
    Variant: {"adain": get_args(Adain), "rest": get_args(Rest), "condition": get_args(Takes)},
    ExtraInput: {"reads": get_args(Reads)},
}
