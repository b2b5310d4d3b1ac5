"""Frame graphs for TensorRT: rewritten, calibrated, in a precision, and with norms that a compiler fuses.

    traced -> form -> biases that centre the norms -> codes for int8 and fp8 -> half -> norms spelled, or one node each

The precision stands in the graph: every type is given, casts and all, as a strongly typed network wants it. In float32
norms stay as they are: TensorRT-RTX makes 129 kernels of AFHQ's generator then, and of the spelling 146.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from starcast.export.gate.candidates import Trial
from starcast.export.graphs.constants import add_constant
from starcast.export.graphs.facts import numbers
from starcast.export.passes.adain_plugin import plug_norms
from starcast.export.passes.forms import LAST_SUM, TENSORRT, Step, apply_form, apply_rewrites
from starcast.export.passes.half import to_half
from starcast.export.passes.norm_spelling import spell_norms
from starcast.export.passes.product_sums import sum_style_products
from starcast.export.passes.row_sums import sum_row_products
from starcast.export.plan import Plan
from starcast.export.precision.norm_ranges import calibrate_norms
from starcast.export.precisions import PRECISIONS
from starcast.export.rewrite_report import Cost
from starcast.runtime.manifest import Norm

PHASES = "phases"


@dataclass(frozen=True)
class Base:
    """A form in float32 whose norms still stand as the engine's own: what every precision is made from. `left`: the
    norms that could not be centred, and why."""

    frame: ir.Model
    steps: tuple[Step, ...]
    norms: tuple[Norm, ...]
    left: tuple[str, ...]
    cost: Cost


@dataclass(frozen=True)
class Fused:
    """A graph for TensorRT, what was rewritten, and how its norms are taken; none where they are the engine's own."""

    frame: ir.Model
    steps: tuple[Step, ...]
    norms: tuple[Norm, ...]


def form_for(form: str, precision: str) -> str:
    """TensorRT for RTX has no transposed convolution in bf16 ("could not infer output types"): it gets the form that
    does without, whatever form was named that has one."""
    return PHASES if precision == "bf16" and form in {"taps9", "taps16"} else form


def base_of(
    traced: ir.Model, form: str, side: int, trials: Sequence[Trial], flat: Sequence[Trial], without: Sequence[str] = ()
) -> Base:
    """Rewrite a copy of the traced frame graph, and calibrate its norms on the trials. `flat`: of one colour."""
    frame = traced.clone()
    steps = (*apply_form(frame, form, without), *apply_rewrites(frame, TENSORRT, without))
    cost = Cost.of(frame, side)
    norms, centring = calibrate_norms(frame, trials, flat)
    return Base(frame, steps, norms, centring.declined, cost)


def fused(frame: ir.Model, plan: Plan, base: Base, side: int, without: Sequence[str] = ()) -> Fused:
    """A base's float32 graph, or one with codes that was made of it, in the plan's precision and with its norms.
    `side` is the trained picture's. Raises OptionError where a weight is too large for half."""
    made = frame.clone()
    half = PRECISIONS[plan.precision].half
    if half is not None:
        kind = ir.DataType[half.upper()]
        to_half(made, kind, norms=plan.norms == "unfused")
        _dequantise_to_half(made, kind)
    if plan.norms == "plugin":
        plug_norms(made)
        # the kernel takes two passes over what it holds
        return Fused(
            made, base.steps, tuple(msgspec.structs.replace(norm, statistics="two-pass") for norm in base.norms)
        )
    if plan.precision == "fp32" or plan.norms == "unfused":
        return Fused(made, base.steps, ())
    return spelled(made, base, side, without)


def spelled(frame: ir.Model, base: Base, side: int, without: Sequence[str] = ()) -> Fused:
    """A graph in any precision with norms that a compiler fuses; it is changed."""
    spell_norms(frame, side, {norm.name: norm.statistics for norm in base.norms})
    return Fused(frame, (*base.steps, *apply_rewrites(frame, [LAST_SUM], without)), base.norms)


def without_products(style_graph: ir.Model) -> None:
    """A graph that makes styles, in place: TensorRT-RTX has no float32 matrix product for Turing."""
    sum_style_products(style_graph)
    sum_row_products(style_graph, {"batch": 1})


def _dequantise_to_half(model: ir.Model, kind: ir.DataType) -> None:
    """Casts behind DequantizeLinear go into it: an engine sees codes in front of a convolution or does not use them."""
    for node in list(model.graph):
        given = node.inputs[0] if node.op_type == "Cast" else None
        maker = given.producer() if given is not None else None
        if maker is None or maker.op_type != "DequantizeLinear" or node.outputs[0].dtype != kind:
            continue
        scale = numbers(maker.inputs[1])
        assert scale is not None
        assert given is not None
        half = add_constant(model.graph, f"{given.name}.scale.half", scale.astype(kind.numpy()))
        maker.replace_input_with(1, half)
        given.type = ir.TensorType(kind)
        node.outputs[0].replace_all_uses_with(given)
    RemoveUnusedNodesPass()(model)
