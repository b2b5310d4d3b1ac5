"""Questions about nodes and values that several rewrites ask before they change a graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray


def numbers(value: ir.Value | None) -> NDArray[Any] | None:
    """A constant's array; None for a computed value or a graph input."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def scalar(value: ir.Value | None) -> float | None:
    """The value of a constant with one element; None otherwise."""
    array = numbers(value)
    return float(array.reshape(())) if array is not None and array.size == 1 else None


def convolution(node: ir.Node, *, side: int, pad: int) -> str | None:
    """Why a node is not a plain 2-D convolution of that kernel, stride 1, ungrouped, with constant weights; or None."""
    weight = numbers(node.inputs[1])
    if weight is None:
        return "its weight is not constant"
    if weight.shape[2:] != (side, side):
        return f"its kernel is not {side}x{side}"
    if node.attributes.get_int("group", 1) != 1:
        return "it is grouped"
    if node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return "it uses auto_pad"
    for name, wanted in (("strides", 1), ("dilations", 1)):
        if any(step != wanted for step in node.attributes.get_ints(name, [])):
            return f"its {name} are not {wanted}"
    if list(node.attributes.get_ints("pads", [0, 0, 0, 0])) != [pad] * 4:
        return f"its border is not {pad}"
    if len(node.inputs) > 2 and node.inputs[2] is not None and numbers(node.inputs[2]) is None:
        return "its bias is not constant"
    return None


def kernel_side(node: ir.Node) -> int | None:
    """The side of a convolution's square kernel, if its shape is known."""
    shape = node.inputs[1].shape if node.inputs[1] is not None else None
    sides = {dim for dim in shape[2:] if isinstance(dim, int)} if shape is not None and len(shape) == 4 else set()
    return sides.pop() if len(sides) == 1 else None


def halving(pool: ir.Node) -> str | None:
    """Why a node is not the mean of every 2x2 square; or None."""
    attributes = pool.attributes
    plain = (
        list(attributes.get_ints("kernel_shape", [])) == [2, 2]
        and list(attributes.get_ints("strides", [1, 1])) == [2, 2]
        and not any(attributes.get_ints("pads", [0]))
        and all(step == 1 for step in attributes.get_ints("dilations", [1]))
        and attributes.get_string("auto_pad", "NOTSET") == "NOTSET"
        and not attributes.get_int("ceil_mode", 0)
    )
    return None if plain else "the pool is not 2x2 with stride 2"


def doubling(resize: ir.Node) -> str | None:
    """Why a node does not double an image by repeating every pixel; or None."""
    if resize.attributes.get_string("mode", "nearest") != "nearest":
        return "the resize is not nearest"
    grid = resize.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    rounding = resize.attributes.get_string("nearest_mode", "round_prefer_floor")
    # Output p reads input p / 2 rounded down, or p / 2 - 1/4 rounded: floor(p / 2) either way.
    if (grid, rounding) not in {("asymmetric", "floor")} and not (grid == "half_pixel" and "round" in str(rounding)):
        return f"the resize samples its pixels differently ({grid}, {rounding})"
    scales = numbers(resize.inputs[2]) if len(resize.inputs) > 2 else None
    if scales is None or scales.tolist() != [1, 1, 2, 2]:
        return "the resize is not by a constant factor of 2"
    return None


def producer_of(value: ir.Value) -> ir.Node:
    """The node that computes a value, which must not be a graph input or a constant."""
    node = value.producer()
    assert node is not None
    return node


def attributes(node: ir.Node) -> dict[str, Any]:
    """A copy of a node's attributes, for another node of its kind."""
    return {name: attribute.value for name, attribute in node.attributes.items()}


def readers(value: ir.Value) -> Sequence[ir.Node]:
    """The nodes that read a value, each listed once."""
    return list(dict.fromkeys(node for node, _ in value.uses()))


def is_neutral(value: ir.Value | None, neutral: float) -> bool:
    """Whether a value is a constant with every element equal to that number."""
    array = numbers(value)
    return array is not None and bool((array == neutral).all())


def close(number: float, other: float) -> bool:
    """Whether two numbers are equal up to float32's rounding."""
    return math.isclose(number, other, rel_tol=1e-6)
