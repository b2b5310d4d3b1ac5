"""Forms of a frame graph: the exact rewrites that make each, in order, and what an export shows about them.

`benchmarks/results/forms.json` records which rewrites pay off on which engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import onnx_ir as ir

from starcast.errors import OptionError
from starcast.export.graphs.cost import Cost
from starcast.export.passes.activation_gains import move_activation_gains
from starcast.export.passes.byte_range import ScaleIntoFirst, ScaleIntoLast
from starcast.export.passes.constant_planes import ConstantPlanes
from starcast.export.passes.dead_biases import drop_dead_biases
from starcast.export.passes.few_channels import FewInPhases, FewTransposed
from starcast.export.passes.grouped_boxes import group_boxes
from starcast.export.passes.interpolation import commute_interpolations
from starcast.export.passes.last_sums import sum_last_convolutions
from starcast.export.passes.pooled_shortcuts import PooledIn4, PooledInFirst
from starcast.export.passes.product_sums import sum_style_products
from starcast.export.passes.resampling import (
    EnlargedIn9,
    EnlargedIn16,
    EnlargedInPhases,
    EnlargeLast,
    PooledIn9,
    PooledIn16,
    PoolFirst,
    SpreadInPhases,
)
from starcast.export.passes.residual_scale import carry_residual_scales
from starcast.export.passes.rule import ExactRule, Outcome, Rewrite, apply_rules
from starcast.export.passes.shuffled import GatheredIn3x3, SpreadIn3x3
from starcast.export.passes.style_products import fold_one_plus_gamma, join_style_products


def _rules(name: str, summary: str, *kinds: type[ExactRule]) -> Rewrite:
    return Rewrite(name, summary, partial(_apply, kinds=kinds))


def _apply(model: ir.Model, kinds: Sequence[type[ExactRule]]) -> Outcome:
    return apply_rules(model, *kinds)


def _pool_shortcuts(model: ir.Model) -> Outcome:
    """Merge mean and 1x1 into the convolution in front where that pays off, otherwise into one 2x2. The order matters:
    the second rule also matches where the first one should apply."""
    first, second = apply_rules(model, PooledInFirst), apply_rules(model, PooledIn4)
    return Outcome(first.fired + second.fired, second.declined)


def _drop_dead_biases(model: ir.Model) -> Outcome:
    """Without norms no bias is dead, and a line for each would only be noise."""
    return drop_dead_biases(model) if any(map(_is_norm, model.graph)) else Outcome(0)


def _is_norm(node: ir.Node) -> bool:
    return node.op_type == "InstanceNormalization"


DEAD_BIASES = Rewrite("dead-biases", "drop biases that a norm cancels", _drop_dead_biases)
ONE_PLUS_GAMMA = Rewrite(
    "one-plus-gamma", "move AdaIN's 1 + gamma into the bias of the style's matrix product", fold_one_plus_gamma
)
STYLE_PRODUCTS = Rewrite("style-products", "join the style's matrix products into one", join_style_products)
SHORTCUT = _rules("shortcut", "move 1x1 convolutions to the small side of a resampling", PoolFirst, EnlargeLast)
POOLED_9 = _rules("pooled-9", "replace 3x3 and mean by a 2x2 box and a 3x3 with stride 2", PooledIn9)
POOLED_16 = _rules("pooled-16", "replace 3x3 and mean by one 4x4 with stride 2", PooledIn16)
ENLARGED_9 = _rules(
    "enlarged-9", "replace enlarge and 3x3 by a transposed 3x3 with stride 2 and a 2x2 box", EnlargedIn9
)
ENLARGED_16 = _rules("enlarged-16", "replace enlarge and 3x3 by one transposed 4x4 with stride 2", EnlargedIn16)
ENLARGED_PHASES = _rules("enlarged-phases", "replace enlarge and 3x3 by four interleaved 2x2", EnlargedInPhases)
SPREAD_PHASES = _rules("spread-phases", "replace a transposed 4x4 by four interleaved 2x2", SpreadInPhases)
FEW_PHASES = _rules(
    "few-phases", "replace a convolution to a few channels by four interleaved ones with stride 2", FewInPhases
)
FEW_TRANSPOSED = _rules(
    "few-transposed", "write a convolution to a few channels as a transposed one", FewTransposed
)  # fmt: skip
CONSTANT_PLANES = Rewrite(
    "constant-planes", "read labels as one plane, with weights that are computed once per style",
    partial(_apply, kinds=(ConstantPlanes,)), one_style=True,
)  # fmt: skip
GATHERED_3 = _rules("gathered-3x3", "replace a 4x4 with stride 2 by a 3x3 of interleaved maps", GatheredIn3x3)
SPREAD_3 = _rules("spread-3x3", "replace a transposed 4x4 by a 3x3, whose outputs are interleaved", SpreadIn3x3)
INTERPOLATED_9 = Rewrite(
    "interpolated-9", "replace interpolation, filter and 3x3 by a transposed 3x3 with stride 2 and a longer filter",
    commute_interpolations,
)  # fmt: skip
ACTIVATION_GAINS = Rewrite(
    "activation-gains", "move an activation's factor into the scales that follow it", move_activation_gains
)
RESIDUAL_SCALE = Rewrite("residual-scale", "move the residuals' factors into the norms' epsilon", carry_residual_scales)
BYTE_RANGE = _rules(
    "byte-range", "move the scaling 0..255 <-> -1..1 into the first and last weights", ScaleIntoFirst, ScaleIntoLast
)

POOLED_SHORTCUT = Rewrite("pooled-shortcut", "replace mean and 1x1 by one 2x2 or 4x4 with stride 2", _pool_shortcuts)
STYLE_SUMS = Rewrite("style-sums", "write the style's matrix product as sums of products", sum_style_products)
LAST_SUM = Rewrite("last-sum", "write the last 1x1 convolution as sums over channels", sum_last_convolutions)
GROUPED_BOXES = Rewrite("grouped-boxes", "write 2x2 means as convolutions of one channel each", group_boxes)

_FIRST = (DEAD_BIASES, ONE_PLUS_GAMMA, STYLE_PRODUCTS, SHORTCUT)
_LAST = (ACTIVATION_GAINS, RESIDUAL_SCALE, BYTE_RANGE)

PLAIN, PHASES = "plain", "phases"
FORMS: Mapping[str, tuple[Rewrite, ...]] = {
    PLAIN: (),
    "taps9": (*_FIRST, POOLED_9, ENLARGED_9, INTERPOLATED_9, *_LAST),
    "taps16": (*_FIRST, POOLED_16, ENLARGED_16, *_LAST),
    PHASES: (*_FIRST, POOLED_16, ENLARGED_PHASES, SPREAD_PHASES, *_LAST),
}
# TensorRT's graphs get these after any form's rewrites, and LAST_SUM too if norms are decomposed
TENSORRT = (POOLED_SHORTCUT, STYLE_SUMS)
# CPU engines' graphs get these after any form's rewrites
ONNX_ON_CPU = (FEW_PHASES,)
NCNN = (FEW_TRANSPOSED, GATHERED_3, SPREAD_3)
# float32 graphs in which one style serves the whole batch, as in all of ncnn's, get this too
ONE_STYLE = (CONSTANT_PLANES,)
# OpenVINO's int8 graphs get this after quantisation, if the other layers run in bfloat16
BESIDE_BF16 = (GROUPED_BOXES,)
REWRITES: Mapping[str, Rewrite] = {
    rewrite.name: rewrite
    for rewrites in (*FORMS.values(), ONNX_ON_CPU, NCNN, ONE_STYLE, TENSORRT, (LAST_SUM,), BESIDE_BF16)
    for rewrite in rewrites
}
_ELSEWHERE = {
    **dict.fromkeys(ONNX_ON_CPU, "any form, for openvino and onnxruntime"),
    **dict.fromkeys(NCNN, "any form, for ncnn"),
    **dict.fromkeys(ONE_STYLE, "any form, for ncnn and onnxruntime"),
    **dict.fromkeys(BESIDE_BF16, "int8 with bf16, for openvino"),
}


@dataclass(frozen=True)
class Step:
    """An applied rewrite and its outcome."""

    rewrite: Rewrite
    outcome: Outcome


def apply_form(model: ir.Model, form: str, without: Sequence[str] = ()) -> list[Step]:
    """Rewrite a frame graph in place. Raises OptionError for an unknown form or rewrite."""
    if form not in FORMS:
        raise OptionError(f"--forms is {form!r}: give one of {', '.join(FORMS)}")
    unknown = [name for name in without if name not in REWRITES]
    if unknown:
        raise OptionError(f"--without names {unknown[0]!r}: the rewrites are {', '.join(REWRITES)}")
    return apply_rewrites(model, FORMS[form], without)


def apply_rewrites(model: ir.Model, rewrites: Sequence[Rewrite], without: Sequence[str] = ()) -> list[Step]:
    """Apply single rewrites in place, except those named in `without`."""
    return [Step(rewrite, rewrite.apply(model)) for rewrite in rewrites if rewrite.name not in without]


def rewrite_lines(steps: Sequence[Step], before: Cost, after: Cost) -> Iterator[str]:
    """A line of figures, then one for each place that a rewrite left alone."""
    if steps:
        yield ", ".join(f"{step.rewrite.name} {step.outcome.fired}" for step in steps)
    yield (
        f"{before.flop / 1e9:.2f} -> {after.flop / 1e9:.2f} GFLOP per image, "
        f"{before.weights / 1e6:.1f} -> {after.weights / 1e6:.1f} MB of weights"
    )
    for step in steps:
        for place in step.outcome.declined:
            yield f"{step.rewrite.name} left {place}"


def list_rewrites() -> Iterator[str]:
    """A line for each rewrite: its name, what it does, and the forms that it belongs to."""
    width = max(map(len, REWRITES))
    for name, rewrite in REWRITES.items():
        forms = [form for form, rewrites in FORMS.items() if rewrite in rewrites]
        forms = forms or [_ELSEWHERE.get(rewrite, "any form, for tensorrt")]
        yield f"{name:<{width}}  {rewrite.summary} ({', '.join(forms)})"
