"""Drops biases that no output depends on.

A bias adds one constant to a whole channel. A norm over the channel removes it again; sums, 1x1 convolutions, means and
repetitions without a border turn it into another such constant. If every path ends at a norm, the bias is dead. (In a
StarGAN v2 without high-pass filters, all biases but the last convolution's are dead.)
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from starcast.export.graphs.facts import numbers, readers, scalar
from starcast.export.passes.rule import Outcome

_CONVOLUTIONS = {"Conv", "ConvTranspose"}


def drop_dead_biases(model: ir.Model) -> Outcome:
    """Remove the bias of every convolution whose paths all end at norms."""
    fired, declined = 0, []
    for node in model.graph:
        if node.op_type not in _CONVOLUTIONS or len(node.inputs) < 3 or node.inputs[2] is None:
            continue
        reason = why_seen(node.outputs[0])
        if reason is None:
            node.resize_inputs(2)
            fired += 1
        else:
            declined.append(f"{node.name}: {reason}")
    RemoveUnusedNodesPass()(model)
    return Outcome(fired, tuple(declined))


def why_seen(value: ir.Value) -> str | None:
    """Why a constant added to a whole channel of this value changes the graph's output; None if it does not."""
    return _why_seen(value, set())


def why_no_constant(node: ir.Node, value: ir.Value) -> str | None:
    """Why a node does not turn a constant on a whole channel of `value` into another such constant; None if it does."""
    borderless = not any(node.attributes.get_ints("pads", [0])) and (
        node.attributes.get_string("auto_pad", "NOTSET") in {"NOTSET", "VALID"}
    )
    passes = (
        node.op_type == "Add"
        or (node.op_type in {"Mul", "Div"} and node.inputs[0] is value and scalar(node.inputs[1]) is not None)
        or (node.op_type == "AveragePool" and borderless)
        or node.op_type == "Resize"
        or (node.op_type == "Conv" and borderless and numbers(node.inputs[1]) is not None and node.inputs[0] is value)
    )
    return None if passes else f"{node.name} ({node.op_type}) depends on it"


def _why_seen(value: ir.Value, asked: set[ir.Value]) -> str | None:
    """Why a constant is seen, as in `why_seen`. `asked`: values that another branch has already reached."""
    if value in asked:
        return None
    asked.add(value)
    if value.is_graph_output():
        return "the graph's output depends on it"
    for node in readers(value):
        if node.op_type == "InstanceNormalization" and node.inputs[0] is value:
            continue
        reason = why_no_constant(node, value) or _why_seen(node.outputs[0], asked)
        if reason is not None:
            return reason
    return None
