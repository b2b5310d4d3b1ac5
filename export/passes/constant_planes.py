"""A condition that is joined to an image as constant planes, as StarGAN v1 does with its labels, becomes one plane.

    Conv(Concat(x, planes of s), W)  ->  Conv(Concat(x, plane of ones), W'),  W' = Gemm(s, …)

For each output, a convolution of constant planes is a plane of ones convolved with one kernel: the planes' kernels,
weighted by the condition and added. That kernel is computed once per style, with the style's other products. The border
stays exact, because the ones are padded with zeros, too. The convolution reads one plane however many labels there are:
with five labels at 256 px, the first 7x7 took half its former time in ncnn, and 60 % of it in ONNX Runtime. Its
weights are then an input of the graph, so one style serves the whole batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from starcast.export.graphs.facts import attributes, known_numbers, numbers, producer_of, scalar
from starcast.export.passes.rule import ExactRule, new_constant


class ConstantPlanes(ExactRule):
    """A graph input's numbers that a convolution reads as constant planes, behind or before a map."""

    def pattern(self, op: Any, first: Any, second: Any, weight: Any) -> Any:
        inner_joined = op.Concat(first, second, axis=1, _outputs=["inner_joined"])
        return op.Conv(inner_joined, weight, _allow_other_inputs=True, _outputs=["root"])

    def concerns(self, first: ir.Value, second: ir.Value, **_: ir.Value) -> bool:
        return _planes(first) is not None or _planes(second) is not None

    def refusal(self, root: ir.Value, first: ir.Value, second: ir.Value, weight: ir.Value, **_: ir.Value) -> str | None:
        conv, array = producer_of(root), numbers(weight)
        if array is None or any(numbers(value) is None for value in conv.inputs[2:] if value is not None):
            return "its weight or bias is not constant"
        if conv.attributes.get_int("group", 1) != 1:
            return "it is grouped"
        if _planes(first) is not None and _planes(second) is not None:
            return "it reads nothing but constant planes"
        planes = _planes(second) or _planes(first)
        assert planes is not None
        if planes.count is None or planes.count >= array.shape[1]:
            return "how many constant planes it reads is not known"
        if not planes.zeros_are_one:
            return "the map that gives the planes their size may have several channels"
        return None

    def rewrite(self, op: Any, root: ir.Value, first: ir.Value, second: ir.Value, weight: ir.Value, **_: Any) -> Any:
        conv, array = producer_of(root), known_numbers(weight)
        planes = _planes(second) or _planes(first)
        assert planes is not None
        assert planes.count is not None
        behind = _planes(second) is not None
        cut = array.shape[1] - planes.count if behind else planes.count
        parts = array[:, :cut], array[:, cut:]
        of_map, of_planes = parts if behind else parts[::-1]
        products, constant = _kernels(of_map, of_planes, behind)
        name = str(conv.name)
        one = new_constant(op, np.array(1, np.float32), f"{name}.one")
        ones = op.Add(planes.zeros, one, _name=f"{name}.ones")
        joined = op.Concat(*((first, ones) if behind else (ones, second)), axis=1, _name=f"{name}.joined")
        numbers_of_style = op.Gemm(
            planes.condition, new_constant(op, products, f"{name}.weight.labels"),
            new_constant(op, constant, f"{name}.weight.image"), transB=1, _name=f"{name}.weights",
        )  # fmt: skip
        shape = np.array([len(array), of_map.shape[1] + 1, *array.shape[2:]], np.int64)
        kernel = op.Reshape(
            numbers_of_style, new_constant(op, shape, f"{name}.weight.shape"), _name=f"{name}.kernel"
        )  # fmt: skip
        given = {key: value for key, value in attributes(conv).items() if key != "kernel_shape"}
        result = op.Conv(joined, kernel, **given, kernel_shape=list(array.shape[2:]), _name=f"{name}.one-plane")
        bias = numbers(conv.inputs[2]) if len(conv.inputs) > 2 else None
        if bias is None:
            return result
        column = new_constant(op, bias.reshape(-1, 1, 1), f"{name}.bias.column")
        return op.Add(result, column, _name=f"{name}.biased")


class _Planes:
    """Numbers `condition` [N, count] of a graph's input as planes, which get their size from a map of zeros."""

    def __init__(self, condition: ir.Value, zeros: ir.Value) -> None:
        self.condition, self.zeros = condition, zeros

    @property
    def count(self) -> int | None:
        shape = self.condition.shape
        return shape[1] if shape is not None and len(shape) == 2 and isinstance(shape[1], int) else None

    @property
    def zeros_are_one(self) -> bool:
        """Whether the map of zeros has one channel."""
        cut = producer_of(self.zeros).inputs[0]
        node = cut.producer() if cut is not None else None
        if node is None or node.op_type != "Slice" or len(node.inputs) < 4:
            return False
        start, end, axis = (numbers(value) for value in node.inputs[1:4])
        steps = numbers(node.inputs[4]) if len(node.inputs) > 4 else np.array([1])
        return (
            start is not None and end is not None and axis is not None and steps is not None
            and [start.tolist(), end.tolist(), axis.tolist(), steps.tolist()] == [[0], [1], [1], [1]]
        )  # fmt: skip


def _planes(value: ir.Value) -> _Planes | None:
    """What is known of a value that is a column of a graph input's numbers plus a map times zero."""
    add = value.producer()
    if add is None or add.op_type != "Add":
        return None
    for column, zeros in (tuple(add.inputs), tuple(reversed(add.inputs))):
        source, product = _condition_of(column), zeros.producer() if zeros is not None else None
        if source is not None and zeros is not None and product is not None and _is_zero(product):
            return _Planes(source, zeros)
    return None


def _condition_of(column: ir.Value | None) -> ir.Value | None:
    """The graph input [N, L] that a column [N, L, 1, 1] is made of."""
    node = column.producer() if column is not None else None
    if node is None or node.inputs[0] is None or not node.inputs[0].is_graph_input():
        return None
    wanted = numbers(node.inputs[1]) if len(node.inputs) > 1 else None
    if node.op_type != "Unsqueeze" or wanted is None or wanted.tolist() not in ([2, 3], [-2, -1]):
        return None
    return node.inputs[0]


def _is_zero(product: ir.Node) -> bool:
    """Whether a node multiplies a map by 0."""
    return product.op_type == "Mul" and scalar(product.inputs[1]) == 0


def _kernels(
    of_map: NDArray[Any], of_planes: NDArray[Any], behind: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(P [T, L], q [T]) such that P s + q are the weights [out, maps + 1, kh, kw] for a condition s [L]. The plane of
    ones is the last input if `behind`, otherwise the first."""
    outputs, maps, height, width = of_map.shape
    place = maps if behind else 0
    products = np.zeros((outputs, maps + 1, height, width, of_planes.shape[1]), np.float32)
    products[:, place] = of_planes.transpose(0, 2, 3, 1)
    constant = np.zeros(products.shape[:-1], np.float32)
    constant[:, slice(0, maps) if behind else slice(1, None)] = of_map
    return products.reshape(-1, of_planes.shape[1]), constant.reshape(-1)
