"""The style's matrix product as sums of products, which run in float32 on every GPU.

    Gemm(s, W, b)  ->  ReduceSum(s[:, None, :] * W, last axis) + b

TensorRT-RTX has no float32 matrix product for Turing. On newer GPUs it compiles a single style's product to this very
kernel; a product of a few rows costs nothing either way.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from starcast.export.graphs.facts import add_constant, numbers
from starcast.export.passes.rule import Outcome


def sum_style_products(model: ir.Model) -> Outcome:
    """Rewrite every matrix product x W^T + b with constant weights, in place."""
    fired, declined = 0, []
    for node in list(model.graph):
        if node.op_type != "Gemm":
            continue
        if _is_linear(node):
            _replace(model.graph, node)
            fired += 1
        else:
            declined.append(f"{node.name}: it is no x W^T + b with constant weights")
    RemoveUnusedNodesPass()(model)
    return Outcome(fired, tuple(declined))


def _is_linear(gemm: ir.Node) -> bool:
    attributes = gemm.attributes
    return (
        attributes.get_int("transB", 0) == 1
        and attributes.get_int("transA", 0) == 0
        and attributes.get_float("alpha", 1.0) == 1
        and attributes.get_float("beta", 1.0) == 1
        and all(numbers(value) is not None for value in gemm.inputs[1:] if value is not None)
    )


def _replace(graph: ir.Graph, gemm: ir.Node) -> None:
    x, weight, *bias = gemm.inputs
    output = gemm.outputs[0]

    def add(operator: str, *inputs: ir.Value | None, **attributes: int) -> ir.Value:
        node = ir.node(operator, list(inputs), attributes, name=f"{gemm.name}.{operator}")
        node.outputs[0].name, node.outputs[0].type = node.name, output.type
        graph.insert_before(gemm, node)
        return node.outputs[0]

    rows = add("Unsqueeze", x, add_constant(graph, "axes.1", np.array([1], np.int64)))
    products = add("Mul", rows, weight)
    result = add("ReduceSum", products, add_constant(graph, "axes.last", np.array([-1], np.int64)), keepdims=0)
    if bias and bias[0] is not None:
        result = add("Add", result, bias[0])
    if output.is_graph_output():
        result.name, result.shape = output.name, output.shape
    output.replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove(gemm, safe=True)
