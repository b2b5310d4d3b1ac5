"""A bundle's translations on a card against PyTorch's in float32 on the processor."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from starcast.benchmarks.bench.random_weights import MIN_PSNR, export_random, write_random_checkpoint
from starcast.benchmarks.bench.subject import checkpoint_of
from starcast.errors import EngineError, VariantMissingError
from starcast.export.gate.images import pictures
from starcast.export.gate.quality import psnr
from starcast.export.gate.reference import translate
from starcast.export.options import ExportOptions
from starcast.export.precisions import PRECISIONS
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.engines.choose import BACKENDS
from starcast.runtime.nvidia.tensorrt.build import build_engines
from starcast.runtime.nvidia.tensorrt.build_options import BuildOptions
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS
from starcast.runtime.translator import Translator
from starcast.train.checkpoint.file import averaged_networks, read_checkpoint
from starcast.train.families.stargan_v2.networks import Networks, StarGANv2Config

# in the folder that all checks share
BUNDLE, CHECKPOINT, RANDOM_MARK, CACHE = "bundle", "checkpoint.pt", "random", "cache"
RANDOM = StarGANv2Config(image_size=128, domains=3)
STYLE_ERROR = 1e-3  # of styles, which are made in float32, relative to the largest
COUNT = 9  # more than one batch of an engine that takes 8


@dataclass(frozen=True)
class Compared:
    """Whether the gate was passed, a sentence about it, and the figures."""

    passed: bool
    sentence: str
    figures: dict[str, Any]


def adopt(folder: Path, bundle: Path) -> None:
    """A bundle that is there, and the checkpoint that it was exported from. Raises OptionError, BundleError."""
    opened = open_bundle(bundle)
    shutil.copyfile(checkpoint_of(opened), folder / CHECKPOINT)
    shutil.copytree(bundle, folder / BUNDLE)


def prepare(folder: Path, config: StarGANv2Config = RANDOM, flavours: Sequence[str] | None = None) -> None:
    """A checkpoint with random weights, and its bundle: for ONNX Runtime and torch, and for `flavours`, or those that
    are here, in every precision, which takes minutes."""
    if flavours is None:
        flavours = [name for name in FLAVOURS if BACKENDS[name].absent() is None]
    (folder / RANDOM_MARK).touch()
    write_random_checkpoint(folder / CHECKPOINT, config, ("a", "b", "c"))
    options = ExportOptions(backends=("onnxruntime",), mean_draws=100)
    if flavours:
        options = replace(
            options, backends=("onnxruntime", "tensorrt"), precision=tuple(PRECISIONS), adain=("spelled", "plugin")
        )
    export_random(folder / CHECKPOINT, folder / BUNDLE, config.image_size, options, calibration=24)


def compared(engine: str, precision: str, folder: Path, *, plugin: bool = False) -> Compared:
    """Build what the engine needs, translate, compare; `plugin`: with AdaIN as starcast's kernel.

    Raises StarcastError.
    """
    bundle, cache = folder / BUNDLE, folder / CACHE  # engines of random weights are nothing for the user's
    form = plugin_form(open_bundle(bundle), precision) if plugin else None
    if engine in FLAVOURS:
        options = BuildOptions(engine=engine, precision=precision, form=form)
        made = build_engines(bundle, options, say=lambda line: None, folder=cache)
        if made.failed:
            raise EngineError(made.failed[0])
    networks = averaged_networks(read_checkpoint(folder / CHECKPOINT)).eval()
    with Translator(bundle, backend=engine, precision=precision, form=form, cache=cache) as translator:
        sources = pictures(COUNT, *translator.size, seed=5)
        styles = np.stack([translator.style(number % len(translator.domains), seed=number) for number in range(COUNT)])
        wanted_styles = _styles(networks, translator)
        style_error = float(np.abs(styles - wanted_styles).max() / np.abs(wanted_styles).max())
        got = translator(sources, wanted_styles)
    # a random network amplifies roundings: of it, smaller precisions need no more than to be exported (subject.py)
    least = MIN_PSNR if (folder / RANDOM_MARK).exists() else None
    return judged(got, translate(networks.generator, sources, wanted_styles), precision, style_error, least)


def plugin_form(bundle: Bundle, precision: str) -> str:
    """The form of a bundle's graph whose norms are nodes for the plugin. Raises VariantMissingError."""
    for variant in bundle.manifest.variants:
        if variant.precision == precision and variant.adain == "plugin":
            return variant.form_name
    raise VariantMissingError(
        f"{bundle.path} has no graph in {precision} for the plugin: starcast export --for tensorrt --adain-forms plugin"
    )


def judged(
    got: NDArray[np.uint8], wanted: NDArray[np.uint8], precision: str, style_error: float, least: float | None = None
) -> Compared:
    """The gate of the precision: one grey level for fp32, PSNR for the others, whose mean may be another, `least`."""
    levels = int(np.abs(got.astype(np.int16) - wanted).max())
    noise = [psnr(*pair) for pair in zip(got, wanted, strict=True)]
    figures = {
        "levels": levels, "psnr_mean": round(float(np.mean(noise)), 2), "psnr_worst": round(min(noise), 2),
        "style_error": style_error,
    }  # fmt: skip
    if precision == "fp32":
        passed, gate = levels <= 1, "1 grey level"
    else:
        needed = PRECISIONS[precision].gate_for(least)
        passed = float(np.mean(noise)) >= needed.mean and min(noise) >= needed.worst
        gate = f"a mean of {needed.mean:g} dB and {needed.worst:g} at worst"
    passed = passed and style_error <= STYLE_ERROR
    told = ", ".join(f"{name} {value:g}" for name, value in figures.items())
    return Compared(passed, f"{told}, where {gate} is asked for", figures)


def _styles(networks: Networks, translator: Translator) -> NDArray[np.float32]:
    maker = translator.bundle.manifest.condition.latent
    assert maker is not None
    latents = [np.random.RandomState(number).standard_normal(maker.size) for number in range(COUNT)]
    with torch.inference_mode():
        domains = torch.arange(COUNT) % len(translator.domains)
        made: NDArray[np.float32] = networks.mapping_network(torch.tensor(np.stack(latents)).float(), domains).numpy()
    return made
