"""Writes the style's matrix product as sums of products, which run in float32 on every GPU.

    Gemm(s, W, b)  ->  ReduceSum(s[:, None, :] * W, last axis) + b

TensorRT-RTX has no float32 matrix product for Turing. On newer GPUs it compiles a single style's product to this very
kernel; a product of a few rows costs nothing either way.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from starcast.export.graphs.facts import add_constant, add_node, is_linear, replace_node
from starcast.export.passes.rule import Outcome, replace_nodes


def sum_style_products(model: ir.Model) -> Outcome:
    """Rewrite every matrix product x W^T + b with constant weights, in place."""
    return replace_nodes(model, (node for node in model.graph if node.op_type == "Gemm"), _refusal, _replace)


def _refusal(gemm: ir.Node) -> str | None:
    return None if is_linear(gemm) else "it is no x W^T + b with constant weights"


def _replace(graph: ir.Graph, gemm: ir.Node) -> None:
    x, weight, *bias = gemm.inputs
    rows = add_node(gemm, "Unsqueeze", x, add_constant(graph, "axes.1", np.array([1], np.int64)))
    products = add_node(gemm, "Mul", rows, weight)
    last = add_constant(graph, "axes.last", np.array([-1], np.int64))
    result = add_node(gemm, "ReduceSum", products, last, keepdims=0)
    if bias and bias[0] is not None:
        result = add_node(gemm, "Add", result, bias[0])
    replace_node(gemm, result)
