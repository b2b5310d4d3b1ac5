"""The variants below float32: bf16, which is a hint on the same graph, and int8, which is calibrated and searched.

Both are judged on pictures that nothing was calibrated on, in the engine that will run them; what is below the gate is
not written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import onnx_ir as ir

from starcast.export.comparison import Trial
from starcast.export.judging import Judging
from starcast.export.passes.forms import apply_form
from starcast.export.precision.engines import Expected, bf16_quality, quality_on
from starcast.export.precision.int8 import FASTEST, Int8Options, quantise
from starcast.export.precision.quality import BF16_GATE, INT8_GATE, check, missing, summary
from starcast.export.rewrite_report import Cost
from starcast.export.shapes import one_picture
from starcast.export.stages import stage
from starcast.export.variants import PREFERRED, Made, finished
from starcast.export.weights import SharedWeights
from starcast.export.write_variants import GENERATOR, STYLE_PRODUCT, Making, written
from starcast.runtime.backends.choose import BACKENDS
from starcast.runtime.backends.openvino import lacks
from starcast.runtime.bundle import WEIGHTS, Quality, Variant


@dataclass(frozen=True)
class _Judged:
    """An int8 graph as it lies in the bundle, and what its engine makes of the gate's pictures."""

    made: Made
    path: Path
    quality: Quality


def write_precisions(
    making: Making, variants: Sequence[Variant], precisions: Sequence[str], judging: Judging
) -> tuple[Variant, ...]:
    """Write what `precisions` name for the engines of the float32 variants. Raises ParityError (below the gate),
    EngineError."""
    made: list[Variant] = []
    if "bf16" in precisions:
        made += _bf16(making, variants, judging)
    if "int8" in precisions:
        engines = dict.fromkeys(name for variant in variants for name in variant.backends if name in FASTEST)
        made += [_int8(making, name, judging) for name in engines]
    return tuple(made)


def _bf16(making: Making, variants: Sequence[Variant], judging: Judging) -> list[Variant]:
    openvino = [variant for variant in variants if "openvino" in variant.backends]
    if not openvino:
        return []
    expected = judging.expected
    reason = BACKENDS["openvino"].absent() or lacks("bf16")
    if reason is not None:
        making.progress(f"bf16 is left out, as nothing here can measure it: {reason}")
        return []
    made = []
    for variant in openvino:
        with stage(making.progress, f"{variant.form}-bf16: measured"):
            graph = making.folder / variant.file
            product = making.folder / STYLE_PRODUCT if variant.condition == "gamma_beta" else None
            quality = bf16_quality(graph, judging.pictures.gate, expected, product)
        assert quality is not None
        check(quality, judging.gate(BF16_GATE), "bf16")
        making.progress(f"  {summary(quality)}")
        made.append(
            msgspec.structs.replace(variant, precision="bf16", backends=("openvino",), parity=None, quality=quality)
        )
    return made


def _int8(making: Making, engine: str, judging: Judging) -> Variant:
    gate, side, expected = judging.gate(INT8_GATE), making.config.image_size, judging.expected
    fastest = FASTEST[engine]
    plan = replace(PREFERRED[engine], form=fastest.form, backends=(engine,), precision="int8")
    options = Int8Options(rules=fastest.rules, gate=gate)
    with stage(making.progress, f"{plan.name}: calibrated and searched for {engine}"):
        frame = making.traced.clone()
        steps = tuple(apply_form(frame, plan.form, making.without))
        cost = Cost.of(frame, side)
        judged: list[_Judged] = []

        def lacking(model: ir.Model) -> float:
            judged.append(_judged(making, finished(model, plan, steps, side), engine, judging.pictures.gate, expected))
            return missing(judged[-1].quality, gate)

        result = quantise(frame, one_picture(side), judging.pictures, options, making.progress, lacking)
    made, path, quality = judged[-1].made, judged[-1].path, judged[-1].quality
    check(quality, gate, "int8", result.to_blame)
    making.progress(f"  {result.summary('float32')}")
    making.progress(f"  {summary(quality)}")
    return Variant(
        file=path.relative_to(making.folder).as_posix(), backends=(engine,), form=plan.form, precision="int8",
        condition="style" if made.product is None else "gamma_beta", one_style=plan.one_style, quality=quality,
        kept=result.kept, flop=cost.flop, bytes=Cost.of(made.frame, side).weights + path.stat().st_size,
        working=cost.working, rewrites={step.rewrite.name: step.outcome.fired for step in made.steps},
    )  # fmt: skip


def _judged(
    making: Making, made: Made, engine: str, trials: Mapping[str, Sequence[Trial]], expected: Expected
) -> _Judged:
    """The graph written, in place of what an earlier round of the search wrote, and measured in its engine."""
    # weights of its own: a runtime that opens a float32 graph should not have to hash them
    weights = making.folder / GENERATOR / f"{made.plan.name}{WEIGHTS}"
    weights.unlink(missing_ok=True)
    path = written(making, made, SharedWeights(weights))
    quality = quality_on([BACKENDS[engine]], path, "int8", trials, expected, _product(making, made))
    return _Judged(made, path, quality)


def _product(making: Making, made: Made) -> Path | None:
    return making.folder / STYLE_PRODUCT if made.product is not None else None
