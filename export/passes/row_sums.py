"""Writes products of one row with a computed matrix, such as a domain's selected heads, as sums of products.

    MatMul(x [.., 1, K], W [.., K, M])  ->  ReduceSum(x^T * W, second last axis)

TensorRT-RTX has no float32 matrix product for Turing (see product_sums.py). A product of one row costs nothing either
way.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from starcast.export.graphs.facts import add_constant, add_node, at_size, replace_node
from starcast.export.passes.rule import Outcome


def sum_row_products(model: ir.Model, sizes: Mapping[str, int]) -> Outcome:
    """Rewrite every such product, in place. `sizes`, of the graph's named dimensions, show what is a single row."""
    fired, declined = 0, []
    sized = at_size(model, dict(sizes)).graph
    for node, twin in zip(list(model.graph), sized, strict=True):
        if node.op_type != "MatMul":
            continue
        shapes = [value.shape for value in twin.inputs if value is not None]
        ranks = [len(shape) for shape in shapes if shape is not None]
        if len(ranks) == 2 and ranks[0] == ranks[1] > 1 and shapes[0] is not None and shapes[0][-2] == 1:
            _replace(model.graph, node, ranks[0])
            fired += 1
        else:
            declined.append(f"{node.name}: it is no product of one row with a matrix of as many axes")
    return Outcome(fired, tuple(declined))


def _replace(graph: ir.Graph, product: ir.Node, rank: int) -> None:
    x, matrix = product.inputs
    column = add_node(product, "Transpose", x, perm=[*range(rank - 2), rank - 1, rank - 2])
    axis = add_constant(graph, "axes.second-last", np.array([-2], np.int64))
    replace_node(product, add_node(product, "ReduceSum", add_node(product, "Mul", column, matrix), axis, keepdims=1))
