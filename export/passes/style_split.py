"""Moves style-only work out of the frame graph, which then has scales and shifts as an input.

    frame(image, style)  ->  frame(image, gamma_beta),  gamma_beta = Gemm(style, W, b)

That work is done once per style instead of once per frame, and engines whose norms accept only constants can still
be given scales and shifts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from starcast.export.graphs.facts import is_neutral, numbers, readers
from starcast.export.passes.rule import ExactRule, new_constant

STYLE, GAMMA_BETA = "style", "gamma_beta"


def split_off_style(model: ir.Model) -> ir.Model | None:
    """Cut the style's one matrix product off a frame graph, in place, and return it as the graph style -> gamma_beta.

    Returns None if anything else reads the style.
    """
    graph = model.graph
    style = next((value for value in graph.inputs if value.name == STYLE), None)
    readers_of_style = readers(style) if style is not None else []
    if style is None or len(readers_of_style) != 1 or readers_of_style[0].op_type != "Gemm":
        return None
    [product] = readers_of_style
    weight, bias = numbers(product.inputs[1]), numbers(product.inputs[2])
    if weight is None or bias is None:
        return None
    count = style.shape[0] if style.shape is not None else "styles"
    shape = ir.Shape([count, len(bias)])
    companion = _product_alone(model, style, weight, bias, shape)
    scales = ir.Value(name=GAMMA_BETA, shape=shape, type=ir.TensorType(ir.DataType.FLOAT))
    graph.inputs[graph.inputs.index(style)] = scales
    product.outputs[0].replace_all_uses_with(scales)
    graph.remove(product, safe=True)
    RemoveUnusedNodesPass()(model)
    return companion


def _product_alone(model: ir.Model, style: ir.Value, weight: Any, bias: Any, shape: ir.Shape) -> ir.Model:
    style_input = ir.Value(name=STYLE, shape=style.shape, type=style.type)
    constants = [
        ir.Value(name=name, const_value=ir.tensor(array, name=name), shape=ir.Shape(array.shape), type=style_input.type)
        for name, array in (("weight", weight), ("bias", bias))
    ]
    scales = ir.Value(name=GAMMA_BETA, shape=shape, type=ir.TensorType(ir.DataType.FLOAT))
    product = ir.node("Gemm", [style_input, *constants], {"transB": 1}, outputs=[scales], name="style.product")
    graph = ir.Graph(
        [style_input], [scales], nodes=[product], initializers=constants, opset_imports=dict(model.graph.opset_imports),
        name="style_product",
    )  # fmt: skip
    return ir.Model(graph, ir_version=model.ir_version)


class StyleInNorm(ExactRule):
    """One style for the whole batch: scale and shift become inputs of the norm itself.

    IN(x; 1, 0) * gamma + beta  ->  IN(x; gamma, beta)

    Saves two passes over every map in engines that do not fuse them.
    """

    def pattern(self, op: Any, x: Any, one: Any, zero: Any, gamma: Any, beta: Any) -> Any:
        inner_norm = op.InstanceNormalization(x, one, zero, _allow_other_attributes=True, _outputs=["inner_norm"])
        inner_scaled = op.Mul(inner_norm, gamma, _outputs=["inner_scaled"])
        return op.Add(inner_scaled, beta, _outputs=["root"])

    def refusal(self, one: ir.Value, zero: ir.Value, gamma: ir.Value, beta: ir.Value, **_: ir.Value) -> str | None:
        if not is_neutral(one, 1) or not is_neutral(zero, 0):
            return "its norm has its own scale and shift"
        return None if _of_style_alone(gamma) and _of_style_alone(beta) else "its scale or shift is not the style's"

    def rewrite(
        self, op: Any, inner_norm: ir.Value, x: ir.Value, gamma: ir.Value, beta: ir.Value, **_: ir.Value
    ) -> Any:
        norm = inner_norm.producer()
        assert norm is not None
        flat = new_constant(op, np.array([-1], np.int64), f"{norm.name}.flat")
        scale = op.Reshape(gamma, flat, _name=f"{norm.name}.gamma")
        shift = op.Reshape(beta, flat, _name=f"{norm.name}.beta")
        epsilon = norm.attributes.get_float("epsilon", 1e-5)
        return op.InstanceNormalization(x, scale, shift, epsilon=epsilon, _name=f"{norm.name}.styled")


def _of_style_alone(value: ir.Value) -> bool:
    """Whether a value is a part of the input `gamma_beta`."""
    while (producer := value.producer()) is not None:
        first = producer.inputs[0]
        if producer.op_type not in {"Reshape", "Split", "Slice", "Unsqueeze"} or first is None:
            return False
        value = first
    return value.is_graph_input() and value.name == GAMMA_BETA
