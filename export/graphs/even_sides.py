"""What is known about a feature map's height and width for every size of images: above all, whether they are even.

A graph's image may say that its sides are multiples of a number (`set_multiple`); layers then shrink or enlarge them.
"""

from __future__ import annotations

from typing import NamedTuple

import onnx_ir as ir

from starcast.export.graphs.facts import doubling, kernel_side

_SAME_SIZE = {"Relu", "LeakyRelu", "Tanh", "Sigmoid", "InstanceNormalization", "Add", "Sub", "Mul", "Div",
              "Cast", "Transpose"}  # fmt: skip
_MULTIPLE = "sides are multiples of"


class _Sides(NamedTuple):
    """A map's height and width are both multiples of a number, plus a remainder."""

    multiple: int
    remainder: int


def set_multiple(image: ir.Value, multiple: int) -> None:
    """Note on a graph's input that the height and width of images are multiples of a number."""
    image.meta[_MULTIPLE] = multiple


def multiple_of_sides(image: ir.Value) -> int | None:
    """The number that the height and width of images are multiples of; None if the graph's input does not say."""
    multiple: int | None = image.meta.get(_MULTIPLE)
    return multiple


def remainder_of_sides(value: ir.Value | None) -> int | None:
    """0 if a map's height and width are even for every size of images, 1 if they are odd, None if that is unknown."""
    sides = _sides(value, {})
    return None if sides is None or sides.multiple % 2 else sides.remainder % 2


def _sides(value: ir.Value | None, seen: dict[ir.Value, _Sides | None]) -> _Sides | None:
    """As above; `seen` caches results, so that a chain of sums is not walked once for every path."""
    node = value.producer() if value is not None else None
    if value is None:
        return None
    if node is None:
        multiple = multiple_of_sides(value)
        return None if multiple is None else _Sides(multiple, 0)
    if value not in seen:
        seen[value] = _sides_after(node, seen)
    return seen[value]


def _sides_after(node: ir.Node, seen: dict[ir.Value, _Sides | None]) -> _Sides | None:
    if node.op_type == "Resize":
        return _Sides(2, 0) if doubling(node) is None else None
    if node.op_type == "DepthToSpace":
        return _Sides(2, 0) if node.attributes.get_int("blocksize", 1) == 2 else None
    if node.op_type in _SAME_SIZE or (node.op_type == "Concat" and node.attributes.get_int("axis", 0) == 1):
        operands = (_sides(operand, seen) for operand in node.inputs)
        return next((sides for sides in operands if sides is not None), None)
    before = _sides(node.inputs[0], seen)
    if node.op_type == "SpaceToDepth":
        side = node.attributes.get_int("blocksize", 1)
        if before is None or before.multiple % side or before.remainder % side:
            return None
        return _reduced(before.multiple // side, before.remainder // side)
    window = _window(node)
    if window is None:
        return None
    stride, more = window
    if node.op_type == "ConvTranspose":
        # without a fact about the map before, doubling still says what is even
        before = before or _Sides(1, 0)
        return _reduced(stride * before.multiple, stride * before.remainder + more)
    if before is None or before.multiple % stride:
        return None
    return _reduced(before.multiple // stride, (before.remainder + more) // stride + 1)


def _reduced(multiple: int, remainder: int) -> _Sides | None:
    return _Sides(multiple, remainder % multiple) if multiple > 1 else None


def _window(node: ir.Node) -> tuple[int, int] | None:
    """(stride, more) of a node whose maps have sides of stride * side + more if it is transposed, otherwise
    (side + more) // stride + 1; None for others."""
    given = node.attributes
    strides, pads = set(given.get_ints("strides", [1, 1])), list(given.get_ints("pads", [0, 0, 0, 0]))
    borders = {pads[0] + pads[2], pads[1] + pads[3]}
    dilated = any(step != 1 for step in given.get_ints("dilations", [1, 1]))
    rounded = given.get_int("ceil_mode", 0) or given.get_string("auto_pad", "NOTSET") != "NOTSET"
    extended = any(given.get_ints("output_padding", [0, 0])) or "output_shape" in given
    if len(borders) != 1 or len(strides) != 1 or dilated or rounded or extended:
        return None
    [stride], [border] = strides, borders
    if node.op_type == "AveragePool":
        sides = set(given.get_ints("kernel_shape", []))
        side = sides.pop() if len(sides) == 1 else None
    elif node.op_type in {"Conv", "ConvTranspose"}:
        side = kernel_side(node)
    else:
        return None
    if side is None:
        return None
    return (stride, side - border - stride) if node.op_type == "ConvTranspose" else (stride, border - side)
