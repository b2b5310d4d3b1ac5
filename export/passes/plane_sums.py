"""Adds noise to a map before the bias, for an engine that adds biases in place.

    x + (n + b)  ->  (x + n) + b        x [N, C, h, w], noise n [N, 1, h, w], constant b [C, 1, 1]

The sum in brackets is a whole map, which then need not be computed.
"""

from __future__ import annotations

import onnx_ir as ir

from starcast.export.graphs.facts import add_node, numbers, producer_of, replace_node
from starcast.export.passes.rule import Outcome, replace_nodes


def add_planes_first(model: ir.Model) -> Outcome:
    """Rewrite every such sum, in place."""
    places = [node for node in model.graph if node.op_type == "Add" and _inner_sum(node) is not None]
    return replace_nodes(model, places, lambda node: None, _replace)


def _inner_sum(node: ir.Node) -> ir.Value | None:
    """The operand that is the sum of a computed value and a constant column, if nothing else reads it."""
    if any(value is None or numbers(value) is not None for value in node.inputs):
        return None
    for value in node.inputs:
        producer = value.producer() if value is not None else None
        if value is not None and producer is not None and producer.op_type == "Add" and len(value.uses()) == 1:
            constants = [array for array in map(numbers, producer.inputs) if array is not None]
            if any(array.size > 1 and array.shape[-3:] == (array.size, 1, 1) for array in constants):
                return value
    return None


def _replace(_graph: ir.Graph, node: ir.Node) -> None:
    inner = _inner_sum(node)
    assert inner is not None
    [x] = [value for value in node.inputs if value is not inner]
    terms = producer_of(inner).inputs
    [plane] = [value for value in terms if numbers(value) is None]
    [column] = [value for value in terms if numbers(value) is not None]
    replace_node(node, add_node(node, "Add", add_node(node, "Add", x, plane, of=".plane"), column, of=".column"))
