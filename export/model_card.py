"""README.md of a bundle: the model card."""

from __future__ import annotations

import json
from collections.abc import Sequence

from starcast.command_line import command_line
from starcast.export.families.model import About, Licence
from starcast.runtime.labels import example_flags
from starcast.runtime.manifest import Manifest, Output
from starcast.runtime.variants import Parity, Variant

TENSORRT_RTX = "tensorrt-rtx"


def model_card(manifest: Manifest, about: About, *, name: str, parameters: int, from_official: bool = False) -> str:
    """The model card in Markdown, with a YAML head for model hubs.

    `name` is the bundle's name; `parameters` is the number of the generator's parameters; `from_official` says whether
    the weights were trained from an official checkpoint's.
    """
    official = from_official or manifest.provenance.layout == "official"
    licence = about.official_licence if official else None
    sections = [
        _head(manifest, about, licence),
        f"# {name}",
        _what(manifest, about, parameters),
        f"![{_preview_of(manifest)}](preview.jpg)",
        _use(manifest, name),
        _figures(manifest),
        _licence(manifest, licence),
        _origin(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def _head(manifest: Manifest, about: About, licence: Licence | None) -> str:
    task = "image-to-image" if manifest.output is None else "unconditional-image-generation"
    facts = [
        f"license: {licence.name if licence else 'other'}",
        "library_name: starcast",
        f"pipeline_tag: {task}",
        f"tags: [{', '.join((*about.tags, task, 'onnx'))}]",
    ]
    if manifest.provenance.dataset:
        facts.append(f"datasets: [{json.dumps(manifest.provenance.dataset, ensure_ascii=False)}]")
    return "\n".join(["---", *facts, "---"])


def _preview_of(manifest: Manifest) -> str:
    return "Sources on the left, their translations to each domain" if manifest.output is None else "Generated images"


def _what(manifest: Manifest, about: About, parameters: int) -> str:
    if manifest.output is not None:
        return _describe_generator(manifest.output, about, parameters)
    source, labels = manifest.source, manifest.condition.only_labels
    assert source is not None
    deed = f"translates images between {_count(manifest.domains, 'domain')}"
    if labels is not None and labels.attribute_names:
        deed = f"changes {_count(labels.attribute_names, 'attribute', ' of images')}"
        if labels.class_names:
            deed += f", and translates them to {_count(labels.class_names, 'class')}"
    return (
        f"{about.title} that {deed}. It was trained at "
        f"{source.width}x{source.height} pixels; other sizes work where both sides are multiples of {source.stride}. "
        f"The generator has {parameters:,} parameters.\n\n"
        f"{about.styles} Images go in and come out as 8-bit RGB: all scaling and rounding is in the graphs."
    )


def _count(names: Sequence[str], kind: str, of: str = "") -> str:
    """`3 domains: cat, dog, wild`; `of` comes before the colon."""
    plural = f"{kind}es" if kind.endswith("s") else f"{kind}s"
    return f"{len(names)} {kind if len(names) == 1 else plural}{of}: {', '.join(names)}"


def _describe_generator(output: Output, about: About, parameters: int) -> str:
    colours = {1: "8-bit grey", 3: "8-bit RGB", 4: "8-bit RGB with opacity"}[output.channels]
    return (
        f"{about.title} that generates images of {output.width}x{output.height} pixels. The generator has "
        f"{parameters:,} parameters.\n\n"
        f"{about.styles} Images come out as {colours}: all scaling and rounding is in the graphs."
    )


def _use(manifest: Manifest, name: str) -> str:
    if manifest.output is not None:
        generate = command_line("starcast", "generate", name, "--seeds", "0-15", "--psi", "0.7")
        lines = ["pip install 'starcast[cpu]'", f"{generate} -o out/", *_build_lines(manifest, name, generate)]
        return "\n".join(["## How to run it", "", "```", *lines, "```"])
    labels = manifest.condition.only_labels
    flags: tuple[str, ...] = ("--domain", manifest.domains[-1])
    if labels is not None and labels.attribute_names:
        flags = example_flags(labels, labels.names[0])
    translate = " ".join([command_line("starcast", "translate", name, "photo.jpg"), *map(_quote, flags)])
    lines = ["pip install 'starcast[cpu]'", f"{translate}{_seed(manifest)} -o out/"]
    if manifest.condition.reference is not None:
        lines.append(f"{translate} --ref reference.jpg -o out/")
    if labels is not None and labels.attribute_names and labels.classifier is None:
        lines.insert(1, "# --has lists the attributes that photo.jpg already has")
    return "\n".join(["## How to run it", "", "```", *lines, *_build_lines(manifest, name, translate), "```"])


def _quote(word: str) -> str:
    """A word in double quotes where that is enough, because a card is read on every system."""
    return f'"{word}"' if " " in word and not set(word) & set('"$`\\!%') else command_line(word)


def _seed(manifest: Manifest) -> str:
    """The seed option, for models that translate with styles from latents; models steered by labels need only the
    domain."""
    return "" if manifest.condition.latent is None or manifest.output is not None else " --seed 7"


def _build_lines(manifest: Manifest, name: str, command: str) -> list[str]:
    """The commands for NVIDIA GPUs, ending with `command` there; none if the bundle has no graphs for them."""
    precisions = [variant.precision for variant in manifest.variants if TENSORRT_RTX in variant.engines]
    if not precisions:
        return []
    precision = "fp16" if "fp16" in precisions else precisions[0]
    return [
        "",
        "# on an NVIDIA GPU, after building an engine once:",
        "pip install 'starcast[tensorrt-rtx]'",
        command_line("starcast", "build", name, "--backend", TENSORRT_RTX, "--precision", precision),
        f"{command}{_seed(manifest)} --backend {TENSORRT_RTX} --precision {precision} -o out/",
    ]


def _figures(manifest: Manifest) -> str:
    rows = [
        "| graph | engines | GFLOP per image | MB | largest difference | grey levels |",
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
        f"The form {form} is the trained network after exact rewrites, which do not change what it computes: {names}."
        "\n\n"
        for form, names in rewritten.items()
    )
    return (
        "## Figures\n\n"
        + "\n".join(rows)
        + "\n\n"
        + rewrites
        + "The difference is max(|a - b| / max(1, |b|)) to PyTorch in float32, with images in -1..1, before rounding, "
        f"over {parity.images} images in batches of {', '.join(map(str, parity.batches))}; grey levels are after "
        f"rounding. {_flat_note(parity)}{_emulation_note(manifest)}"
        "Image quality has not been measured."
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


def _flat_note(parity: Parity) -> str:
    if parity.flat_levels is None:
        return ""
    return f"On images mostly of one colour, where engines lose digits, it is {parity.flat_levels}. "


def _emulation_note(manifest: Manifest) -> str:
    if not any(variant.norms and variant.quality is not None for variant in manifest.variants):
        return ""
    return (
        "TensorRT's PSNR is relative to float32 and was measured without a GPU: on the CPU, with every value rounded "
        "to the graph's types. "
    )


def _licence(manifest: Manifest, licence: Licence | None) -> str:
    if licence is not None:
        text = licence.text
    else:
        data = f"the data set {manifest.provenance.dataset}" if manifest.provenance.dataset else "its training images"
        text = (
            f"The weights were learnt from {data}. Whoever trained them decides on the licence, within what the "
            "licence of those images allows. Replace this paragraph and `license` above before you publish."
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
