"""Whether a feature map's height and width are even for every image size."""

from __future__ import annotations

import onnx_ir as ir

from starcast.export.graphs.facts import doubling, kernel_side

_SAME_SIZE = {"Relu", "LeakyRelu", "Tanh", "Sigmoid", "InstanceNormalization", "Add", "Sub", "Mul", "Div"}


def remainder_of_sides(value: ir.Value | None) -> int | None:
    """0 if a map's height and width are even for every size of images, 1 if they are odd, None if that is unknown."""
    return _remainder(value, {})


def _remainder(value: ir.Value | None, seen: dict[ir.Value, int | None]) -> int | None:
    """As above; `seen` caches results, so that a chain of sums is not walked once for every path."""
    node = value.producer() if value is not None else None
    if value is None or node is None:
        return None
    if value not in seen:
        seen[value] = _remainder_after(node, seen)
    return seen[value]


def _remainder_after(node: ir.Node, seen: dict[ir.Value, int | None]) -> int | None:
    if node.op_type == "Resize":
        return 0 if doubling(node) is None else None
    if node.op_type == "DepthToSpace":
        return 0 if node.attributes.get_int("blocksize", 1) == 2 else None
    if node.op_type in _SAME_SIZE:
        operands = (_remainder(operand, seen) for operand in node.inputs)
        return next((remainder for remainder in operands if remainder is not None), None)
    growth = _growth(node)
    if growth is None:
        return None
    stride, more = growth
    if stride == 2:
        return more % 2
    before = _remainder(node.inputs[0], seen)
    return None if before is None else (before + more) % 2


def _growth(node: ir.Node) -> tuple[int, int] | None:
    """(stride, more) of a node that makes maps of stride * side + more; None for others, and for those that shrink."""
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
    if node.op_type == "ConvTranspose":
        return (stride, side - border - stride) if stride in {1, 2} else None
    return (1, border - side + 1) if stride == 1 else None
