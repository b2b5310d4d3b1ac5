"""The variants below float32: bf16, which is a hint on the same graph, and int8, which is calibrated and searched.
OpenVINO's int8 is written twice, with bfloat16 beside the codes for processors that have it and with float32.

Both are judged on pictures that nothing was calibrated on, in the engine that will run them; what is below the gate is
not written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import onnx_ir as ir

from starcast.export.gate.engines import bf16_quality, quality_on
from starcast.export.gate.judging import Judging
from starcast.export.gate.quality import check, missing, summary
from starcast.export.graphs.shapes import one_picture
from starcast.export.graphs.weights import WEIGHTS, SharedWeights
from starcast.export.passes.forms import BESIDE_BF16, Step, apply_form, apply_rewrites
from starcast.export.passes.wide_norms import split_wide_norms
from starcast.export.plan import PREFERRED, Made, Plan, finished
from starcast.export.precision.codes import drop_output_codes
from starcast.export.precision.search import FASTEST, Int8Options, quantise
from starcast.export.progress import stage
from starcast.export.rewrite_report import Cost
from starcast.export.write_variants import GENERATOR, STYLE_PRODUCT, Making, named, written
from starcast.runtime.engines.base import Graph
from starcast.runtime.engines.openvino import lacks
from starcast.runtime.engines.registry import ENGINES
from starcast.runtime.manifest import Quality, Variant


class _Judged(NamedTuple):
    """An int8 graph as it lies in the bundle, and what its engine makes of the gate's pictures."""

    made: Made
    path: Path
    weights: tuple[Path, ...]
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
        engines = dict.fromkeys(name for variant in variants for name in variant.engines if name in FASTEST)
        made += [variant for name in engines for variant in _int8(making, name, judging)]
    return tuple(made)


def _bf16(making: Making, variants: Sequence[Variant], judging: Judging) -> list[Variant]:
    openvino = [variant for variant in variants if "openvino" in variant.engines]
    if not openvino:
        return []
    expected = judging.expected
    reason = ENGINES["openvino"].absent() or lacks("bf16")
    if reason is not None:
        making.progress(f"bf16 is left out, as nothing here can measure it: {reason}")
        return []
    made = []
    for variant in openvino:
        with stage(making.progress, f"{variant.form_name}-bf16: measured"):
            graph = making.folder / variant.file
            product = making.folder / STYLE_PRODUCT if variant.condition == "gamma_beta" else None
            quality = bf16_quality(graph, judging.pictures.gate, expected, product)
        assert quality is not None
        check(quality, judging.gate("bf16"), "bf16")
        making.progress(f"  {summary(quality)}")
        made.append(
            msgspec.structs.replace(variant, precision="bf16", engines=("openvino",), parity=None, quality=quality)
        )
    return made


def _int8(making: Making, engine: str, judging: Judging) -> list[Variant]:
    """One search, and a graph of it for each of what the numbers beside the codes may be."""
    gate, side = judging.gate("int8"), making.model.side
    fastest = FASTEST[engine]
    plan = replace(PREFERRED[engine], form=fastest.form, backends=(engine,), precision="int8")
    options = Int8Options(rules=fastest.rules, gate=gate)
    with stage(making.progress, f"{plan.name}: calibrated and searched for {engine}"):
        frame = making.traced.clone()
        steps = tuple(apply_form(frame, plan.form, making.without))
        cost = Cost.of(frame, side)
        plans = [replace(plan, rest="bf16"), plan] if _may_be_bf16(making, frame, engine) else [plan]
        judged: list[_Judged] = []

        def lacking(model: ir.Model) -> float:
            # weights of their own: a runtime that opens a float32 graph should not have to hash them. They take the
            # place of what an earlier round of the search wrote
            weights = making.folder / GENERATOR / f"{plan.name}{WEIGHTS}"
            weights.unlink(missing_ok=True)
            shared = SharedWeights(weights)
            judged[:] = [_judged(making, model.clone(), one, steps, shared, judging) for one in plans]
            return max(missing(one.quality, gate) for one in judged)

        result = quantise(frame, one_picture(side), judging.pictures, options, making.progress, lacking)
    making.progress(f"  {result.summary('float32')}")
    variants = []
    for made, path, weights, quality in judged:
        check(quality, gate, "int8", result.to_blame)
        beside = f"  {made.plan.rest} beside it: " if made.plan.rest else "  "
        making.progress(f"{beside}{summary(quality)}")
        variants.append(
            Variant(
                **named(making.folder, path, weights), engines=(engine,), form=plan.form, precision="int8",
                rest=made.plan.rest, condition="style" if made.product is None else "gamma_beta",
                one_style=plan.one_style, quality=quality, kept=result.kept, flop=cost.flop,
                bytes=Cost.of(made.frame, side).weights + path.stat().st_size, working=cost.working,
                rewrites={step.rewrite.name: step.outcome.fired for step in made.steps},
            )
        )  # fmt: skip
    return variants


def _may_be_bf16(making: Making, frame: ir.Model, engine: str) -> bool:
    """Whether bfloat16 may stand beside the codes: where the engine has it, and norms take their means by themselves,
    in float32. Where they are means of tiles, those are numbers of the graph."""
    if engine != "openvino" or split_wide_norms(frame.clone(), making.model.side):
        return False
    reason = lacks("bf16")
    if reason is not None:
        making.progress(f"int8 with bf16 beside it is left out, as nothing here can measure it: {reason}")
    return reason is None


def _judged(
    making: Making, frame: ir.Model, plan: Plan, steps: tuple[Step, ...], weights: SharedWeights, judging: Judging
) -> _Judged:
    """A graph in codes, finished in place, written, and measured in its engine."""
    if plan.rest is not None:
        steps += tuple(apply_rewrites(frame, BESIDE_BF16, making.without))
    [engine] = plan.backends
    if any(node.op_type == "AveragePool" for node in frame.graph):  # also with --without grouped-boxes
        drop_output_codes(frame, FASTEST[engine].unrounded)
    made = finished(frame, plan, steps, making.model.side)
    path, beside = written(making, made, weights)
    graph = Graph(path, precision=plan.precision, rest=plan.rest)
    trials, expected = judging.pictures.gate, judging.expected
    return _Judged(made, path, beside, quality_on([ENGINES[engine]], graph, trials, expected, _product(making, made)))


def _product(making: Making, made: Made) -> Path | None:
    return making.folder / STYLE_PRODUCT if made.product is not None else None
