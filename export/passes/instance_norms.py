"""Finds a graph's instance norms with their scales and shifts, from weights or from the style.

InstanceNormalization(x, scale, shift)                          a norm with weights
Add(Mul(InstanceNormalization(x, 1, 0), scale), shift)          AdaIN, scale = 1 + gamma and shift = beta
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from starcast.export.graphs.facts import is_neutral, readers


@dataclass(frozen=True)
class InstanceNorm:
    """A norm over each channel's plane. `nodes`, in running order: one if it has weights, three for AdaIN. `scale` and
    `shift` are [C] with weights, and broadcast to [N, C, H, W] for AdaIN: [N or 1, C, 1, 1]."""

    nodes: tuple[ir.Node, ...]
    scale: ir.Value
    shift: ir.Value

    @property
    def name(self) -> str:
        """The name of its InstanceNormalization node."""
        return str(self.nodes[0].name)

    @property
    def x(self) -> ir.Value:
        """The value that is normalised."""
        value = self.nodes[0].inputs[0]
        assert value is not None
        return value

    @property
    def epsilon(self) -> float:
        """The constant added to the variance."""
        epsilon = self.nodes[0].attributes.get_float("epsilon", 1e-5)
        assert epsilon is not None
        return epsilon

    @property
    def output(self) -> ir.Value:
        """The normalised planes, scaled and shifted."""
        return self.nodes[-1].outputs[0]


def instance_norms(graph: ir.Graph) -> Iterator[InstanceNorm]:
    """Every instance norm of a graph, in running order."""
    for node in graph:
        if node.op_type == "InstanceNormalization":
            yield _styled_norm(node) or _with_weights(node)


def _with_weights(node: ir.Node) -> InstanceNorm:
    scale, shift = node.inputs[1:3]
    assert scale is not None
    assert shift is not None
    return InstanceNorm((node,), scale, shift)


def _styled_norm(node: ir.Node) -> InstanceNorm | None:
    """A norm without weights, with the multiplication and the addition after it; None for other nodes."""
    if not is_neutral(node.inputs[1], 1) or not is_neutral(node.inputs[2], 0):
        return None
    scaled = _only_reader(node.outputs[0], "Mul")
    shifted = _only_reader(scaled.outputs[0], "Add") if scaled is not None else None
    if scaled is None or shifted is None:
        return None
    scale, shift = _other_input(scaled, node.outputs[0]), _other_input(shifted, scaled.outputs[0])
    return InstanceNorm((node, scaled, shifted), scale, shift) if scale is not None and shift is not None else None


def _only_reader(value: ir.Value, operator: str) -> ir.Node | None:
    nodes = readers(value)
    return nodes[0] if len(nodes) == 1 and nodes[0].op_type == operator and not value.is_graph_output() else None


def _other_input(node: ir.Node, value: ir.Value) -> ir.Value | None:
    """The input other than `value`; None if a node combines `value` with itself."""
    return next((other for other in node.inputs if other is not None and other is not value), None)
