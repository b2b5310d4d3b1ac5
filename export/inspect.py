"""Shows what a checkpoint, a bundle or a run's folder holds, and what can run it. Only checkpoints need torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from tabulate import tabulate

from starcast.atomic import repair_folder
from starcast.command_line import command_line, path_argument
from starcast.errors import StarcastError, printable
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.engines.choose import recall_choice
from starcast.runtime.engines.registry import ENGINES
from starcast.runtime.labels import example_flags
from starcast.runtime.manifest import MANIFEST, ExtraInput, LabelMaker, Manifest
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS
from starcast.runtime.variants import Variant

if TYPE_CHECKING:
    from starcast.train.checkpoint.content import Checkpoint

Facts = dict[str, Any]


def facts_of(path: Path) -> Facts:
    """Everything that `starcast inspect` shows, ready for JSON. Raises BundleError or CheckpointError."""
    path = Path(path)
    repair_folder(path)
    if (path / MANIFEST).exists():
        return bundle_facts(open_bundle(path))
    from starcast.train.checkpoint.folder import choose_checkpoint

    return checkpoint_facts(choose_checkpoint(path).path if path.is_dir() else path)


def bundle_facts(bundle: Bundle) -> Facts:
    """What a bundle holds and which engines run its variants here. Raises BundleError if a file has changed."""
    manifest = bundle.manifest
    for name in manifest.files:
        bundle.file(name)
    source, output, condition = manifest.source, manifest.output, manifest.condition
    return {
        "path": str(bundle.path),
        "what": "bundle",
        "family": manifest.provenance.family,
        "domains": list(manifest.domains) or None,
        **_label_facts(condition.labels),
        "size": list(manifest.trained_size),
        "channels": output.channels if output else None,
        "stride": source.stride if source else None,
        "style_dim": condition.size,
        "layers": condition.layers,
        "noise": len(manifest.noise_inputs) or None,
        "latent_dim": condition.latent.size if condition.latent else None,
        "mean_draws": condition.mean_draws,
        "per_source": [
            {"graph": one.graph, "flop": one.flop, "makes": one.name if isinstance(one, ExtraInput) else "heatmaps"}
            for one in manifest.source_makers
        ]
        or None,
        "bytes": sum(facts.bytes for facts in manifest.files.values()),
        "sha256": bundle.sha256,
        "origin": {
            "checkpoint": manifest.provenance.checkpoint,
            "checkpoint_sha256": manifest.provenance.checkpoint_sha256,
            "layout": manifest.provenance.layout,
            "step": manifest.provenance.step,
            "data_set": manifest.provenance.dataset,
            "starcast": manifest.provenance.starcast,
            "torch": manifest.provenance.torch,
            "created": manifest.provenance.created,
        },
        "options": manifest.provenance.options,
        "variants": [_variant_facts(variant, bundle) for variant in manifest.variants],
        "auto": _auto_choice(bundle),
        "next": next_command(bundle.path, manifest),
    }


def _label_facts(labels: LabelMaker | None) -> Facts:
    if labels is None:
        return {}
    return {
        "attributes": list(labels.attribute_names) or None,
        "classes": list(labels.class_names) or None,
        "reads_attributes": labels.classifier is not None if labels.attribute_names else None,
    }


def next_command(bundle: Path, manifest: Manifest) -> str:
    """The command to type next: one that makes images, or a build if nothing else runs the bundle."""
    builds = [build_line(bundle, variant) for variant in manifest.variants]
    first = builds[-1] if builds else None
    if first is not None and None not in builds:
        return first
    if manifest.output is not None:
        return command_line("starcast", "generate", path_argument(bundle), "--seeds", "0-15", "-o", "OUT")
    labels, domain = manifest.condition.only_labels, manifest.domains[0]
    chosen = ("--domain", domain) if labels is None else example_flags(labels, labels.names[0])
    return command_line("starcast", "translate", path_argument(bundle), "IMAGE", *chosen, "-o", "OUT")


def _auto_choice(bundle: Bundle) -> str | None:
    """What `--backend auto` chose for a bundle on this machine; None if it has not been used."""
    try:
        known = recall_choice(bundle)
    except StarcastError:  # nothing can run it here; the variants' facts say why
        return None
    return None if known is None else known.sentence()


def checkpoint_facts(path: Path) -> Facts:
    """What a checkpoint holds: layout, configuration, networks and the options it was trained with."""
    from starcast.train.checkpoint.file import read_checkpoint

    checkpoint = read_checkpoint(path)
    stored = {**(checkpoint.networks or {}), **checkpoint.averaged}
    parameters = {name: sum(tensor.numel() for tensor in state.values()) for name, state in stored.items()}
    return {
        "path": str(path),
        "what": "checkpoint",
        "holds": _holds(checkpoint),
        "layout": checkpoint.layout,
        "family": checkpoint.family,
        "step": checkpoint.step,
        "data_set": (checkpoint.dataset or {}).get("name"),
        **dataclasses.asdict(checkpoint.config),
        "domains": None if checkpoint.config.stride is None else list(checkpoint.domain_names),
        "stride": checkpoint.config.stride,
        "parameters": parameters,
        "bytes": sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path])),
        "parent": checkpoint.parent,
        "members": list(checkpoint.members) or None,
        "options": checkpoint.options,
        "note": checkpoint.note,
        "next": _next_command(checkpoint, path),
    }


def _next_command(checkpoint: Checkpoint, path: Path) -> str:
    """Export, or training where a family cannot be exported."""
    from starcast.export.families import FAMILIES, needed_flags

    if checkpoint.family in FAMILIES:
        return command_line("starcast", "export", path_argument(path), *needed_flags(checkpoint), "-o", "BUNDLE")
    family = ("--family", checkpoint.family)
    return command_line("starcast", "train", "DATA", "-o", "RUN", *family, "--from", path_argument(path))


def _holds(checkpoint: Checkpoint) -> str:
    if checkpoint.optimizers is not None:
        return "averaged networks, and all that a run resumes from"
    return "averaged networks" if checkpoint.has_average else "networks as trained, not averaged"


def lines_of(facts: Facts) -> list[str]:
    """The facts as text."""
    rows = [[label, show(facts[key])] for key, (label, show) in _ROWS.items() if facts.get(key) is not None]
    rows += _origin_rows(facts.get("origin", {}))
    lines = tabulate(rows, tablefmt="plain", disable_numparse=True).splitlines()
    for variant in facts.get("variants", []):
        lines += ["", *_variant_lines(variant)]
    if facts.get("options"):
        settings = ", ".join(f"{name} {_plain(value)}" for name, value in facts["options"].items() if value is not None)
        lines += ["", f"Trained with: {settings}"]
    return [*lines, "", f"Next: {facts['next']}"]


def _plain_list(names: int | list[str]) -> str:
    """A bundle's names; a checkpoint has only their number."""
    return ", ".join(names) if isinstance(names, list) else str(names)


def _member(member: Facts) -> str:
    """A checkpoint that was averaged, with its share."""
    weight = member.get("weight")
    share = f" ({weight:.1%})" if isinstance(weight, float) else ""
    return f"{printable(member.get('path'))}{share}"


def _maker(maker: Facts) -> str:
    """`landmarks.onnx makes heatmaps (17.14 GFLOP)`."""
    cost = f" ({maker['flop'] / 1e9:.2f} GFLOP)" if maker["flop"] else ""
    return f"{maker['graph']} makes {maker['makes']}{cost}"


def _thousands(count: int) -> str:
    return f"{count:,}"


# fact -> (label, formatter), in the order shown
_ROWS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "path": ("path", str),
    "what": ("what", str),
    "holds": ("holds", str),
    "layout": ("layout", str),
    "family": ("family", str),
    "domains": ("domains", lambda names: ", ".join(f"{number} {name}" for number, name in enumerate(names))),
    "attributes": ("attributes", lambda names: _plain_list(names)),
    "classes": ("classes", lambda names: _plain_list(names)),
    "reads_attributes": (
        "of a source", lambda reads: f"attributes are {'read from it' if reads else 'given with --has'}",
    ),
    "step": ("step", _thousands),
    "parent": ("started from", lambda parent: str(parent.get("path"))),
    "members": ("average of", lambda members: ", ".join(map(_member, members))),
    "data_set": ("data set", str),
    "size": ("size", lambda size: f"{size[1]}x{size[0]}"),
    "image_size": ("size", lambda side: f"{side}x{side}"),
    "channels": ("colours", lambda channels: {1: "grey", 3: "RGB", 4: "RGB and opacity"}[channels]),
    "stride": ("other sizes", lambda stride: f"multiples of {stride} as they are, others padded and cropped back"),
    "style_dim": ("style", str),
    "layers": ("layers", lambda layers: f"{layers}, each with a style of its own"),
    "noise": ("noise", lambda inputs: f"in {inputs} layers"),
    "latent_dim": ("latent", str),
    "mapping_width": ("mapping width", str),
    "channel_base": ("channel base", str),
    "max_channels": ("most channels", str),
    "parameters": (
        "parameters", lambda counts: ", ".join(f"{name} {_thousands(count)}" for name, count in counts.items()),
    ),
    "mean_draws": ("mean styles", lambda draws: f"over {_thousands(draws)} latents"),
    "per_source": ("per source", lambda makers: ", ".join(map(_maker, makers))),
    "bytes": ("bytes", _thousands),
    "sha256": ("SHA-256", str),
    "auto": ("auto", str),
    "note": ("note", str),
}  # fmt: skip


def _origin_rows(origin: Facts) -> list[list[str]]:
    if not origin:
        return []
    step = "" if origin["step"] is None else f", step {_thousands(origin['step'])}"
    rows = [
        ["exported from", f"{origin['checkpoint']} ({origin['layout']} layout{step})"],
        ["its SHA-256", origin["checkpoint_sha256"]],
        ["exported", f"{origin['created']} by starcast {origin['starcast']}, torch {origin['torch']}"],
    ]
    return [*rows, ["data set", origin["data_set"]]] if origin["data_set"] else rows


def _variant_facts(variant: Variant, bundle: Bundle) -> Facts:
    return {
        "file": variant.file,
        "weights": list(variant.weights),
        "form": variant.form_name,
        "precision": variant.precision,
        "rest": variant.rest,
        "arithmetic": variant.arithmetic,
        "flop": variant.flop,
        "bytes": variant.bytes,
        "max_batch": variant.max_batch,
        "parity": _as_json(variant.parity),
        "quality": _as_json(variant.quality),
        "kept": _as_json(variant.kept),
        "norms": _as_json(variant.norms),
        "made_for": list(variant.engines),
        "engines": {name: why_not(name, variant, bundle) for name in ENGINES},
        "build": build_line(bundle.path, variant),
    }


def _as_json(part: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(part))


def why_not(name: str, variant: Variant, bundle: Bundle) -> str | None:
    """Why an engine cannot run a variant of a bundle here, or not yet; None if it can."""
    engine = ENGINES[name]
    return engine.why_cannot_run(variant) or engine.why_not_ready(bundle, variant)


def build_line(bundle: Path, variant: Variant) -> str | None:
    """The command that builds an engine of a variant for TensorRT; None for other variants."""
    engines = [name for name in variant.engines if name in FLAVOURS]
    if not engines:
        return None
    return command_line(
        "starcast", "build", path_argument(bundle), "--backend", engines[-1], "--precision", variant.precision
    )


def _variant_lines(variant: Facts) -> list[str]:
    parity, quality = variant["parity"], variant["quality"]
    engines: Mapping[str, str | None] = variant["engines"]
    return [
        f"{variant['file']}: {variant['form']}, {variant['arithmetic']}, {variant['flop'] / 1e9:.2f} GFLOP per image, "
        f"{variant['bytes'] / 1e6:.1f} MB",
        *(_parity_line(parity) if parity else ()),
        *(_quality_lines(quality) if quality else ()),
        *_norm_lines(variant["norms"]),
        *(f"  {name}: {engines[name] or 'runs here'}" for name in variant["made_for"] if name in engines),
        *([f"  needs an engine for the GPU that will run it: {variant['build']}"] if variant["build"] else ()),
    ]


def _norm_lines(norms: list[Facts]) -> list[str]:
    if not norms:
        return []
    one_pass = sum(norm["statistics"] == "one-pass" for norm in norms)
    return [
        f"  norms: {one_pass} in one pass, {len(norms) - one_pass} in two; |mean| / std was at most "
        f"{max(norm['ratio'] for norm in norms):.3g}"
    ]


def _parity_line(parity: Facts) -> list[str]:
    return [
        f"  against PyTorch: {parity['worst']:.1e} (allowed {parity['tolerance']:.0e}), "
        f"bytes within {parity['levels']}, {parity['images']} images"
    ]


def _quality_lines(quality: Facts) -> list[str]:
    return [
        f"  against float32, {name}: {domain['psnr_mean']:.1f} dB (worst {domain['psnr_worst']:.1f}), "
        f"SSIM {domain['ssim_mean']:.3f}, {domain['images']} images"
        for name, domain in quality["domains"].items()
    ]


def _plain(value: Any) -> str:
    return "+".join(map(str, value)) or "all" if isinstance(value, list | tuple) else str(value)
