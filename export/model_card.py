"""README.md of a bundle: the model card."""

from __future__ import annotations

import json
from dataclasses import dataclass

from starcast.runtime.manifest import Manifest, Parity, Variant

OFFICIAL_LICENCE = "cc-by-nc-4.0"
TENSORRT_RTX = "tensorrt-rtx"


@dataclass(frozen=True)
class Card:
    """What a card says that the manifest does not: the bundle's name and the checkpoint's preview."""

    name: str
    parameters: int


def model_card(manifest: Manifest, card: Card) -> str:
    """The card in Markdown, its facts in a YAML head as model hubs read it."""
    official = manifest.provenance.layout == "official"
    sections = [
        _head(manifest, official),
        f"# {card.name}",
        _what(manifest, card),
        "![Sources on the left, their translations to each domain](preview.jpg)",
        _use(manifest, card),
        _figures(manifest),
        _licence(manifest, official),
        _origin(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def _head(manifest: Manifest, official: bool) -> str:
    facts = [
        f"license: {OFFICIAL_LICENCE if official else 'other'}",
        "library_name: starcast",
        "pipeline_tag: image-to-image",
        "tags: [stargan-v2, image-to-image, onnx]",
    ]
    if manifest.provenance.dataset:
        facts.append(f"datasets: [{json.dumps(manifest.provenance.dataset, ensure_ascii=False)}]")
    return "\n".join(["---", *facts, "---"])


def _what(manifest: Manifest, card: Card) -> str:
    source = manifest.source
    assert source is not None
    domains = ", ".join(manifest.domains)
    return (
        f"A StarGAN v2 (Choi et al. 2020) that translates pictures between {len(manifest.domains)} "
        f"{'domain' if len(manifest.domains) == 1 else 'domains'}: {domains}. It was trained at "
        f"{source.width}x{source.height} pixels; other sizes work where both sides are multiples of {source.stride}. "
        f"The generator has {card.parameters:,} parameters.\n\n"
        "A style is made from a random number or taken from a reference picture. Pictures go in and come out as "
        "8-bit RGB: all scaling and rounding is in the graphs."
    )


def _use(manifest: Manifest, card: Card) -> str:
    domain = manifest.domains[-1]
    shown = json.dumps(domain, ensure_ascii=False) if not domain.replace("-", "").isalnum() else domain
    translate = f"starcast translate {card.name} photo.jpg --domain {shown}"
    lines = [
        "pip install 'starcast[cpu]'",
        f"{translate} --seed 7 -o out/",
        f"{translate} --ref reference.jpg -o out/",
        *_build_lines(manifest, card, translate),
    ]
    return "\n".join(["## How to run it", "", "```", *lines, "```"])


def _build_lines(manifest: Manifest, card: Card, translate: str) -> list[str]:
    """For NVIDIA cards, where the bundle has graphs for them."""
    precisions = [variant.precision for variant in manifest.variants if TENSORRT_RTX in variant.engines]
    if not precisions:
        return []
    precision = "fp16" if "fp16" in precisions else precisions[0]
    return [
        "",
        "# on an NVIDIA card, where an engine has to be built once:",
        "pip install 'starcast[tensorrt-rtx]'",
        f"starcast build {card.name} --backend {TENSORRT_RTX} --precision {precision}",
        f"{translate} --seed 7 --backend {TENSORRT_RTX} --precision {precision} -o out/",
    ]


def _figures(manifest: Manifest) -> str:
    rows = [
        "| graph | engines | GFLOP a picture | MB | largest difference | grey levels |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for variant in manifest.variants:
        rows.append(
            f"| {variant.form_name}, {variant.arithmetic} | {', '.join(variant.engines)} | {variant.flop / 1e9:.2f} | "
            f"{variant.bytes / 1e6:.1f} | {_difference(variant)} |"
        )
    parity = next(variant.parity for variant in manifest.variants if variant.parity is not None)
    rewritten = {
        variant.form_name: ", ".join(f"{name} ({count})" for name, count in variant.rewrites.items() if count)
        for variant in manifest.variants
        if any(variant.rewrites.values())
    }
    rewrites = "".join(
        f"The form {form} is the trained network after exact rewrites, which change no picture: {names}.\n\n"
        for form, names in rewritten.items()
    )
    return (
        "## Figures\n\n"
        + "\n".join(rows)
        + "\n\n"
        + rewrites
        + "The difference is max(|a - b| / max(1, |b|)) to PyTorch in float32, pictures in -1..1, before rounding, "
        f"over {parity.pictures} pictures in batches of {', '.join(map(str, parity.batches))}; grey levels are after "
        f"it. {_flat(parity)}{_emulated(manifest)}"
        "No measure of picture quality has been taken."
    )


def _difference(variant: Variant) -> str:
    """The last two columns: float32's difference and levels, or a smaller precision's PSNR."""
    if variant.parity is not None:
        return f"{variant.parity.worst:.1e} | {variant.parity.levels}"
    if variant.quality is None:
        return " | "
    domains = variant.quality.domains.values()
    mean, worst = min(domain.psnr_mean for domain in domains), min(domain.psnr_worst for domain in domains)
    return f"PSNR {mean:.1f} dB, {worst:.1f} at worst | "


def _flat(parity: Parity) -> str:
    if parity.flat_levels is None:
        return ""
    return f"On pictures of one colour, black or white, where engines lose digits, it is {parity.flat_levels}. "


def _emulated(manifest: Manifest) -> str:
    if not any(variant.norms and variant.quality is not None for variant in manifest.variants):
        return ""
    return (
        "TensorRT's PSNR is to float32 and was measured without a graphics card: on the processor, every value rounded "
        "to the graph's types. "
    )


def _licence(manifest: Manifest, official: bool) -> str:
    if official:
        text = (
            "The checkpoint has the layout of the official StarGAN v2. The official checkpoints are under CC BY-NC "
            "4.0, and so are the data sets that they were trained on (AFHQ, CelebA-HQ): this bundle is for "
            "non-commercial use, with attribution, unless the checkpoint is your own and was trained on data that "
            "allow more."
        )
    else:
        data = f"the data set {manifest.provenance.dataset}" if manifest.provenance.dataset else "its training images"
        text = (
            f"Weights were learnt from {data}: who trained it decides on the licence, within what the licence of those "
            "images allows. Replace this paragraph and `license` above before you publish."
        )
    return f"## Licence and data\n\n{text}"


def _origin(manifest: Manifest) -> str:
    origin = manifest.provenance
    step = f", step {origin.step:,}" if origin.step is not None else ""
    return (
        "## Origin\n\n"
        f"Exported {origin.created} by starcast {origin.starcast} (PyTorch {origin.torch}) from "
        f"`{origin.checkpoint}`{step}, SHA-256 `{origin.checkpoint_sha256}`. `manifest.json` holds the training "
        "options and the hash of every file."
    )
