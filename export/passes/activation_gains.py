"""Moves an activation's constant factor into the scales that its readers multiply by.

    LeakyRelu(x) * c, read as y * s by all readers  ->  LeakyRelu(x), read as y * (c s)

A scale has one number for each channel, so a pass over the whole map is saved.
"""

from __future__ import annotations

import onnx_ir as ir

from starcast.export.graphs.facts import add_node, numbers, readers, scalar
from starcast.export.passes.rule import Outcome, replace_nodes

_COLUMNS = {"Unsqueeze", "Reshape"}  # operators that turn [N, C] into a scale [N, C, 1, 1]


def move_activation_gains(model: ir.Model) -> Outcome:
    """Rewrite every product of an activation with a number, in place."""
    gains = [node for node in model.graph if node.op_type == "Mul" and _activation(node) is not None]
    return replace_nodes(model, gains, _refusal, _replace)


def _activation(node: ir.Node) -> ir.Value | None:
    """The activation that a node multiplies by a number."""
    for value, factor in (tuple(node.inputs), tuple(reversed(node.inputs))):
        producer = value.producer() if value is not None else None
        if producer is not None and producer.op_type == "LeakyRelu" and scalar(factor) is not None:
            return value
    return None


def _refusal(node: ir.Node) -> str | None:
    if node.outputs[0].is_graph_output():
        return "its result is an output of the graph"
    for reader in readers(node.outputs[0]):
        if reader.op_type != "Mul" or _scale(reader, node.outputs[0]) is None:
            return f"{reader.name} reads it without a per-channel scale"
    return None


def _scale(reader: ir.Node, value: ir.Value) -> ir.Value | None:
    """The other factor, if it has one number for each channel."""
    for one, other in (tuple(reader.inputs), tuple(reversed(reader.inputs))):
        producer = other.producer() if other is not None else None
        if one is value and producer is not None and producer.op_type in _COLUMNS and _makes_columns(producer):
            return other
    return None


def _makes_columns(node: ir.Node) -> bool:
    wanted = numbers(node.inputs[1])
    if wanted is None:
        return False
    shape = wanted.tolist()
    return shape == [2, 3] if node.op_type == "Unsqueeze" else len(shape) == 4 and shape[2:] == [1, 1]


def _replace(graph: ir.Graph, node: ir.Node) -> None:
    activation = _activation(node)
    assert activation is not None
    [factor] = [value for value in node.inputs if value is not activation]
    for reader in readers(node.outputs[0]):
        scale = _scale(reader, node.outputs[0])
        place = next(number for number, value in enumerate(reader.inputs) if value is scale)
        reader.replace_input_with(place, add_node(reader, "Mul", scale, factor, of=".gain"))
        reader.replace_input_with(1 - place, activation)
    graph.remove(node, safe=True)
