"""How much memory the values between a graph's nodes need, nothing run."""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx_ir as ir

from starcast.export.graphs.shapes import at_size


def working_bytes(model: ir.Model, sizes: dict[str, int]) -> int:
    """The most bytes that are alive at once while a graph's nodes run in their order; weights are not counted.

    A value lives from the node that makes it to the last one that reads it. Engines keep to it by and large: they save
    what they fuse, and add scratch space. Raises ValueError for a shape that cannot be inferred.
    """
    graph = at_size(model, sizes).graph
    nodes = list(graph)
    last = {value: number for number, node in enumerate(nodes) for value in _read(node)}
    last.update(dict.fromkeys(graph.outputs, len(nodes)))
    alive = {value: _bytes(value) for value in graph.inputs}
    most = 0
    for number, node in enumerate(nodes):
        alive.update((value, _bytes(value)) for value in node.outputs)
        most = max(most, sum(alive.values()))
        alive = {value: size for value, size in alive.items() if last.get(value, -1) > number}
    return most


def _read(node: ir.Node) -> Iterator[ir.Value]:
    return (value for value in node.inputs if value is not None and value.const_value is None)


def _bytes(value: ir.Value) -> int:
    shape = [dim for dim in value.shape or () if isinstance(dim, int)]
    if value.shape is None or value.dtype is None or len(shape) < len(value.shape):
        raise ValueError(f"{value.name}: its shape {value.shape} is not known, so its memory cannot be counted")
    return math.ceil(math.prod(shape) * value.dtype.bitwidth / 8)
