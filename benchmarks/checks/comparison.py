"""A bundle's translations on a GPU against PyTorch's in float32 on the CPU."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.bench.random_weights import MIN_PSNR, config_of, export_random, write_random_checkpoint
from starcast.benchmarks.bench.subject import checkpoint_of
from starcast.benchmarks.checks.check import Figures
from starcast.errors import EngineError, VariantMissingError
from starcast.export.families import open_model
from starcast.export.gate.images import draw_images
from starcast.export.gate.quality import psnr
from starcast.export.gate.reference import translate
from starcast.export.options import ExportOptions
from starcast.export.precisions import PRECISIONS
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.engines.registry import ENGINES
from starcast.runtime.nvidia.tensorrt.build import build_engines
from starcast.runtime.nvidia.tensorrt.build_options import BuildOptions
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS
from starcast.runtime.translator import Translator
from starcast.train.checkpoint.file import read_checkpoint

# in the folder that all checks share
BUNDLE, CHECKPOINT, RANDOM_MARK, CACHE = "bundle", "checkpoint.pt", "random", "cache"
RANDOM = config_of(128, 3)
STYLE_ERROR = 1e-3  # largest allowed error of styles, computed in float32, relative to the largest value
COUNT = 9  # images: more than fit in one batch of an engine that accepts 8


@dataclass(frozen=True)
class Comparison:
    """Whether the gate was passed, a sentence about it, and the figures."""

    passed: bool
    sentence: str
    figures: Figures


def adopt_bundle(folder: Path, bundle: Path) -> None:
    """Use this bundle and its checkpoint instead of random weights. Raises OptionError, BundleError."""
    opened = open_bundle(bundle)
    shutil.copyfile(checkpoint_of(opened), folder / CHECKPOINT)
    shutil.copytree(bundle, folder / BUNDLE)


def export_random_bundle(folder: Path, config: Any = RANDOM, flavours: Sequence[str] | None = None) -> None:
    """Export random weights for ONNX Runtime and torch, and in every precision for `flavours` of TensorRT (default:
    all that can be used here), which takes minutes."""
    if flavours is None:
        flavours = [name for name in FLAVOURS if ENGINES[name].absent() is None]
    (folder / RANDOM_MARK).touch()
    write_random_checkpoint(folder / CHECKPOINT, config, ("a", "b", "c"))
    options = ExportOptions(backends=("onnxruntime",), mean_draws=100)
    if flavours:
        options = replace(
            options, backends=("onnxruntime", "tensorrt"), precision=tuple(PRECISIONS), adain=("fused", "plugin")
        )
    export_random(folder / CHECKPOINT, folder / BUNDLE, config, options, calibration=24)


def compare(engine: str, precision: str, folder: Path, *, plugin: bool = False) -> Comparison:
    """Build what the engine needs, translate, and compare. `plugin`: run AdaIN as starcast's kernel.

    Raises StarcastError.
    """
    bundle, cache = folder / BUNDLE, folder / CACHE  # the user's cache is no place for engines of random weights
    form = plugin_form(open_bundle(bundle), precision) if plugin else None
    if engine in FLAVOURS:
        options = BuildOptions(engine=engine, precision=precision, form=form)
        report = build_engines(bundle, options, progress=lambda line: None, folder=cache)
        if report.failed:
            raise EngineError(report.failed[0])
    checkpoint = read_checkpoint(folder / CHECKPOINT)
    model = open_model(checkpoint, checkpoint.domain_names)
    with Translator(bundle, backend=engine, precision=precision, form=form, cache=cache) as translator:
        sources = draw_images(COUNT, *translator.size, seed=5)
        domains = [number % len(translator.domains) for number in range(COUNT)]
        styles = np.stack([translator.style(domain, seed=seed) for seed, domain in enumerate(domains)])
        expected_styles = np.concatenate(
            [model.draw_style(domain, np.random.RandomState(seed)) for seed, domain in enumerate(domains)]
        )
        style_error = float(np.abs(styles - expected_styles).max() / np.abs(expected_styles).max())
        translations = translator(sources, expected_styles)
    # random weights amplify rounding, so in smaller precisions the lower gate of their export applies
    min_psnr = MIN_PSNR if (folder / RANDOM_MARK).exists() else None
    expected = translate(model.generator, sources, expected_styles)
    return judge(translations, expected, precision, style_error, min_psnr)


def plugin_form(bundle: Bundle, precision: str) -> str:
    """The form of a bundle's graph whose norms are nodes for the plugin. Raises VariantMissingError."""
    for variant in bundle.manifest.variants:
        if variant.precision == precision and variant.adain == "plugin":
            return variant.form_name
    raise VariantMissingError(
        f"{bundle.path} has no graph in {precision} for the plugin: starcast export --for tensorrt --adain-forms plugin"
    )


def judge(
    translations: NDArray[np.uint8], expected: NDArray[np.uint8], precision: str, style_error: float,
    min_psnr: float | None = None,
) -> Comparison:  # fmt: skip
    """Apply the precision's gate: one grey level for fp32, PSNR for the others. `min_psnr` replaces its mean."""
    levels = int(np.abs(translations.astype(np.int16) - expected).max())
    noise = [psnr(*pair) for pair in zip(translations, expected, strict=True)]
    figures: dict[str, Any] = {
        "levels": levels, "psnr_mean": round(float(np.mean(noise)), 2), "psnr_worst": round(min(noise), 2),
        "style_error": style_error,
    }  # fmt: skip
    if precision == "fp32":
        passed, allowed = levels <= 1, "1 grey level"
    else:
        gate = PRECISIONS[precision].gate_for(min_psnr)
        passed = float(np.mean(noise)) >= gate.mean and min(noise) >= gate.worst
        allowed = f"{gate.mean:g} dB on average, {gate.worst:g} at worst"
    passed = passed and style_error <= STYLE_ERROR
    measured = ", ".join(f"{name} {value:g}" for name, value in figures.items())
    return Comparison(passed, f"{measured} (gate: {allowed})", figures)
