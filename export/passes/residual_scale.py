"""Moves constant factors between a residual sum and the norms that read it into the norms' epsilon.

    x' = g x everywhere on the stream: Div(Add(a, b), c) becomes Add(a', b') with a' = g a and b' = g b, so that
    x' = g c x from there on. A norm is blind to a factor if its epsilon grows with the square:
    IN(x; eps) = IN(g x; g^2 eps). Sums, means, repetitions and convolutions pass it on (a bias is multiplied), and so
    do products with other values, such as masks. Where two branches with different factors meet, the convolution at the
    end of one absorbs the difference in its weights.

If both branches of a sum end in convolutions, these absorb its factor, and the stream returns to its trained scale.
If it grew beyond that by sqrt(2) with each of 12 blocks, it would leave float16's range.

Whole chains of blocks are rewritten at once, so this is not a pattern: a StarGAN v2 of 256 px has 12 residual blocks,
and no factor is left between them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from starcast.export.graphs.facts import add_constant, close, known_numbers, numbers, readers, scalar
from starcast.export.passes.rule import Outcome

# f(g x) = g f(x) for every x and every g > 0
_HOMOGENEOUS = {"AveragePool", "GlobalAveragePool", "MaxPool", "Resize", "LeakyRelu", "Relu", "DepthToSpace"}
_CONVOLUTIONS = {"Conv", "ConvTranspose"}


def carry_residual_scales(model: ir.Model) -> Outcome:
    """Remove every constant factor of a sum whose paths all end at norms."""
    graph = model.graph
    removed: list[ir.Node] = []
    declined = []
    for node in graph:
        if _scale_of_a_sum(node) is not None:
            try:
                _Plan(graph, [*removed, node])
            except _SeenError as reason:
                declined.append(f"{node.name}: {reason}")
            else:
                removed.append(node)
    _Plan(graph, removed).carry_out(graph)
    RemoveUnusedNodesPass()(model)
    return Outcome(len(removed), tuple(declined))


class _SeenError(Exception):
    """Why a factor cannot be moved."""


def _scale_of_a_sum(node: ir.Node) -> float | None:
    """The constant that a node multiplies a sum by; None for other nodes."""
    if node.op_type not in {"Div", "Mul"}:
        return None
    first = node.inputs[0]
    producer = first.producer() if first is not None else None
    constant = scalar(node.inputs[1])
    if producer is None or producer.op_type != "Add" or constant is None or constant <= 0:
        return None
    return constant if node.op_type == "Mul" else 1 / constant


class _Plan:
    """The changes that removing the scales requires elsewhere, found by walking the graph in running order and
    tracking every value's factor. Raises _SeenError where a factor would not be cancelled."""

    def __init__(self, graph: ir.Graph, scales: Sequence[ir.Node]) -> None:
        self._scales = dict.fromkeys(scales)
        self._factors: dict[ir.Value, float] = {}
        self._epsilons: dict[ir.Node, float] = {}  # norm -> epsilon's factor
        self._weights: dict[tuple[ir.Node, int], float] = defaultdict(lambda: 1.0)  # (node, input) -> weight's factor
        for node in graph:
            self._visit(node)
        for value in graph.outputs:
            if self._factor(value) != 1:
                raise _SeenError("the graph's output would be scaled")

    def carry_out(self, graph: ir.Graph) -> None:
        """Apply the changes to the graph."""
        for norm, factor in self._epsilons.items():
            epsilon = norm.attributes.get_float("epsilon", 1e-5)
            assert epsilon is not None
            norm.attributes.add(ir.AttrFloat32("epsilon", epsilon * factor))
        for (node, index), factor in self._weights.items():
            _multiply(graph, node, index, factor)
        for scale in self._scales:
            unscaled = scale.inputs[0]
            assert unscaled is not None
            scale.outputs[0].replace_all_uses_with(unscaled)
            graph.remove(scale, safe=True)

    def _visit(self, node: ir.Node) -> None:
        scaled = [value for value in node.inputs if self._factor(value) != 1]
        if node in self._scales:
            scale = _scale_of_a_sum(node)
            total = node.inputs[0]
            assert scale is not None
            assert total is not None
            self._rescale(total, node, scale)
            self._factors[node.outputs[0]] = self._factor(total) / scale
        elif not scaled:
            return
        elif node.op_type == "Add":
            self._factors[node.outputs[0]] = self._meet(node)
        elif node.op_type == "Mul" and all(numbers(value) is None for value in node.inputs):
            self._factors[node.outputs[0]] = math.prod(map(self._factor, node.inputs))
        elif scaled != [node.inputs[0]]:
            raise _SeenError(f"{node.name} ({node.op_type}) reads a scaled value at an input other than its first")
        elif node.op_type == "InstanceNormalization":
            self._epsilons[node] = self._factor(node.inputs[0]) ** 2
        elif node.op_type in _CONVOLUTIONS:
            if len(node.inputs) > 2 and node.inputs[2] is not None:
                self._reweigh(node, 2, self._factor(node.inputs[0]))
            self._factors[node.outputs[0]] = self._factor(node.inputs[0])
        elif node.op_type in _HOMOGENEOUS or _scale_of_a_sum(node) is not None:
            self._factors[node.outputs[0]] = self._factor(node.inputs[0])
        else:
            raise _SeenError(f"{node.name} ({node.op_type}) does not pass a factor on")

    def _factor(self, value: ir.Value | None) -> float:
        return 1.0 if value is None else self._factors.get(value, 1.0)

    def _meet(self, add: ir.Node) -> float:
        """Make the factors of a sum's branches equal, and return the common one."""
        left, right = self._factor(add.inputs[0]), self._factor(add.inputs[1])
        if not close(left, right):
            behind = add.inputs[0] if left < right else add.inputs[1]
            assert behind is not None
            self._raise(behind, max(left, right) / min(left, right), add)
        return max(left, right)

    def _rescale(self, total: ir.Value, reader: ir.Node, factor: float) -> None:
        """Move the factor after a sum into both of its branches, if their weights can absorb it."""
        add, change = total.producer(), factor / self._factor(total)
        assert add is not None
        branches = [value for value in add.inputs if value is not None]
        if readers(total) != [reader] or total.is_graph_output() or add.inputs[0] is add.inputs[1]:
            return
        if all(self._can_raise(value, add) for value in branches):
            for value in branches:
                self._raise(value, change, add)
            self._factors[total] = factor

    def _can_raise(self, value: ir.Value, reader: ir.Node) -> bool:
        """Whether `_raise` would succeed."""
        producer = value.producer()
        if producer is None or readers(value) != [reader] or value.is_graph_output():
            return False
        if producer.op_type in _HOMOGENEOUS:
            return producer.inputs[0] is not None and self._can_raise(producer.inputs[0], producer)
        constant = all(one is None or numbers(one) is not None for one in producer.inputs[1:])
        return producer.op_type in _CONVOLUTIONS and constant

    def _raise(self, value: ir.Value, factor: float, reader: ir.Node) -> None:
        """Multiply by a factor the weights of the convolution that computes a value."""
        producer = value.producer()
        if producer is None or producer.op_type not in _CONVOLUTIONS | _HOMOGENEOUS:
            raise _SeenError(f"the other branch of {reader.name} has no convolution to absorb the factor")
        if readers(value) != [reader] or value.is_graph_output():
            raise _SeenError(f"the other branch of {reader.name} has other readers")
        if producer.op_type in _HOMOGENEOUS:
            assert producer.inputs[0] is not None
            self._raise(producer.inputs[0], factor, producer)
        else:
            for index in range(1, len(producer.inputs)):
                if producer.inputs[index] is not None:
                    self._reweigh(producer, index, factor)
        self._factors[value] = self._factor(value) * factor

    def _reweigh(self, node: ir.Node, index: int, factor: float) -> None:
        if numbers(node.inputs[index]) is None:
            raise _SeenError(f"{node.name} has weights that are not constant")
        self._weights[node, index] *= factor


def _multiply(graph: ir.Graph, node: ir.Node, index: int, factor: float) -> None:
    """Give a node its own copy of a weight, multiplied in float64 and rounded once."""
    old = node.inputs[index]
    array = known_numbers(old)
    assert old is not None
    scaled = (array.astype(np.float64) * factor).astype(array.dtype)
    # several layers may share a weight but need different factors
    node.replace_input_with(index, add_constant(graph, f"{node.name}.{index}.scaled", scaled))
