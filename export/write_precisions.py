"""The variants below float32: bf16, which is a hint on the same graph, and int8, which is calibrated and searched.

Both are judged on pictures that nothing was calibrated on, in the engine that will run them; what is below the gate is
not written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from starcast.export.passes.forms import apply_form
from starcast.export.precision.engines import Expected, bf16_quality, quality_on, translated_in_float32
from starcast.export.precision.int8 import FASTEST, Int8Options, Int8Result, quantise
from starcast.export.precision.quality import BF16_GATE, INT8_GATE, Gate, check
from starcast.export.precision.samples import CalibrationSet, calibration_set
from starcast.export.rewrite_report import Cost
from starcast.export.shapes import one_picture
from starcast.export.stages import stage
from starcast.export.variants import PREFERRED, Made, finished
from starcast.export.weights import SharedWeights
from starcast.export.write_variants import GENERATOR, STYLE_PRODUCT, Making, written
from starcast.runtime.backends.choose import BACKENDS
from starcast.runtime.backends.openvino import lacks
from starcast.runtime.bundle import WEIGHTS, Quality, Variant

BELOW_FLOAT32 = ("bf16", "int8")


@dataclass(frozen=True)
class Pictures:
    """Where the pictures come from, and the mean PSNR that must be reached, if not the gate's own."""

    domains: Sequence[str]
    folder: Path | None
    remembered: str | None
    min_psnr: float | None


def write_precisions(
    making: Making, variants: Sequence[Variant], precisions: Sequence[str], pictures: Pictures
) -> tuple[Variant, ...]:
    """Write what `precisions` name for the engines of the float32 variants. Raises OptionError (no pictures),
    ParityError (below the gate), EngineError."""
    wanted = [name for name in BELOW_FLOAT32 if name in precisions]
    if not wanted:
        return ()
    chosen = calibration_set(making.networks, making.config, pictures.domains, pictures.folder, pictures.remembered)
    with stage(making.progress, "translated the pictures for smaller precisions in float32"):
        expected = translated_in_float32(making.traced.clone(), chosen.gate)
    made: list[Variant] = []
    if "bf16" in wanted:
        made += _bf16(making, variants, chosen, expected, _gate(BF16_GATE, pictures))
    if "int8" in wanted:
        engines = dict.fromkeys(name for variant in variants for name in variant.backends if name in FASTEST)
        made += [_int8(making, name, chosen, expected, _gate(INT8_GATE, pictures)) for name in engines]
    return tuple(made)


def _gate(usual: Gate, pictures: Pictures) -> Gate:
    """The gate, or one as far below `min_psnr` at worst as the usual one."""
    if pictures.min_psnr is None:
        return usual
    return Gate(mean=pictures.min_psnr, worst=max(0.0, usual.worst + pictures.min_psnr - usual.mean))


def _bf16(
    making: Making, variants: Sequence[Variant], pictures: CalibrationSet, expected: Expected, gate: Gate
) -> list[Variant]:
    reason = BACKENDS["openvino"].absent() or lacks("bf16")
    if reason is not None:
        making.progress(f"bf16 is left out, as nothing here can measure it: {reason}")
        return []
    made = []
    for variant in variants:
        if "openvino" in variant.backends:
            with stage(making.progress, f"{variant.form}-bf16: measured"):
                graph = making.folder / variant.file
                product = making.folder / STYLE_PRODUCT if variant.condition == "gamma_beta" else None
                quality = bf16_quality(graph, pictures.gate, expected, product)
            assert quality is not None
            check(quality, gate, "bf16")
            making.progress(f"  {_summary(quality)}")
            made.append(
                msgspec.structs.replace(
                    variant, precision="bf16", backends=("openvino",), parity=None, quality=quality
                )
            )  # fmt: skip
    return made


def _int8(making: Making, engine: str, pictures: CalibrationSet, expected: Expected, gate: Gate) -> Variant:
    fastest = FASTEST[engine]
    plan = replace(PREFERRED[engine], form=fastest.form, backends=(engine,), precision="int8")
    options = Int8Options(outputs=fastest.outputs, gate=gate)
    with stage(making.progress, f"{plan.name}: calibrated and searched for {engine}"):
        frame = making.traced.clone()
        steps = tuple(apply_form(frame, plan.form, making.without))
        cost = Cost.of(frame, making.config.image_size)
        result = quantise(frame, one_picture(making.config.image_size), pictures, options, making.progress)
        made = finished(result.model, plan, steps, making.config.image_size)
        # weights of its own: a runtime that opens a float32 graph should not have to hash them
        path = written(making, made, SharedWeights(making.folder / GENERATOR / f"{plan.name}{WEIGHTS}"))
        quality = quality_on([BACKENDS[engine]], path, "int8", pictures.gate, expected, _product(making, made))
    check(quality, gate, "int8", result.to_blame)
    for line in _search_lines(result):
        making.progress(f"  {line}")
    making.progress(f"  {_summary(quality)}")
    return Variant(
        file=path.relative_to(making.folder).as_posix(), backends=(engine,), form=plan.form, precision="int8",
        condition="style" if made.product is None else "gamma_beta", one_style=plan.one_style, quality=quality,
        kept=result.kept, flop=cost.flop, bytes=Cost.of(made.frame, making.config.image_size).weights
        + path.stat().st_size, working=cost.working,
        rewrites={step.rewrite.name: step.outcome.fired for step in made.steps},
    )  # fmt: skip


def _product(making: Making, made: Made) -> Path | None:
    return making.folder / STYLE_PRODUCT if made.product is not None else None


def _summary(quality: Quality) -> str:
    return "; ".join(
        f"{name} {domain.psnr_mean:.1f} dB (worst {domain.psnr_worst:.1f}), SSIM {domain.ssim_mean:.3f}"
        for name, domain in quality.domains.items()
    )


def _search_lines(result: Int8Result) -> list[str]:
    share = sum(layer.flop_share for layer in result.kept)
    return [
        f"{len(result.kept)} layers stay in float32 ({share:.1%} of the FLOP): {result.psnr_before:.1f} -> "
        f"{result.psnr_after:.1f} dB on the search's pictures"
    ]
