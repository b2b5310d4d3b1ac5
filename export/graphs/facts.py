"""Facts that rewrites check before they change a graph, and helpers that add constants and nodes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import ShapeInferencePass

_TRAINED = "trained."  # before a dimension's name, in a graph's metadata


def numbers(value: ir.Value | None) -> NDArray[Any] | None:
    """A constant's array; None for a computed value or a graph input."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def known_numbers(value: ir.Value | None) -> NDArray[Any]:
    """The array of a value that must be a constant."""
    array = numbers(value)
    assert array is not None
    return array


def known_float64(value: ir.Value | None) -> NDArray[np.float64]:
    """The numbers of a value that must be a constant, in float64, for weights to be computed from them."""
    return known_numbers(value).astype(np.float64)


def scalar(value: ir.Value | None) -> float | None:
    """The value of a constant with one element; None otherwise."""
    array = numbers(value)
    return float(array.reshape(())) if array is not None and array.size == 1 else None


def convolution(node: ir.Node, *, side: int, pad: int) -> str | None:
    """Why a node is no plain 2-D convolution (given kernel, stride 1, ungrouped, constant weights); None if it is."""
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


def is_linear(gemm: ir.Node) -> bool:
    """Whether a Gemm is x W^T + b, with constant weights."""
    attributes = gemm.attributes
    return (
        attributes.get_int("transB", 0) == 1
        and attributes.get_int("transA", 0) == 0
        and attributes.get_float("alpha", 1.0) == 1
        and attributes.get_float("beta", 1.0) == 1
        and all(numbers(value) is not None for value in gemm.inputs[1:] if value is not None)
    )


def kernel_side(node: ir.Node) -> int | None:
    """The side of a convolution's square kernel, if its shape is known."""
    shape = node.inputs[1].shape if node.inputs[1] is not None else None
    sides = {dim for dim in shape[2:] if isinstance(dim, int)} if shape is not None and len(shape) == 4 else set()
    return sides.pop() if len(sides) == 1 else None


def halving(pool: ir.Node) -> str | None:
    """Why a pool does not average every 2x2 square; None if it does."""
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
    """Why a resize does not double an image's size by repeating every pixel; None if it does."""
    if resize.attributes.get_string("mode", "nearest") != "nearest":
        return "the resize is not nearest"
    grid = resize.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    rounding = resize.attributes.get_string("nearest_mode", "round_prefer_floor")
    # Output p reads input p / 2 rounded down, or p / 2 - 1/4 rounded to nearest: floor(p / 2) either way.
    if (grid, rounding) not in {("asymmetric", "floor")} and not (grid == "half_pixel" and "round" in str(rounding)):
        return f"the resize samples its pixels differently ({grid}, {rounding})"
    scales = numbers(resize.inputs[2]) if len(resize.inputs) > 2 else None
    if scales is None or scales.tolist() != [1, 1, 2, 2]:
        return "the resize is not by a constant factor of 2"
    return None


def interpolating(resize: ir.Node) -> str | None:
    """Why a resize does not double an image's size by bilinear interpolation; None if it does."""
    attributes = resize.attributes
    scales = numbers(resize.inputs[2]) if len(resize.inputs) > 2 else None
    known = (
        attributes.get_string("mode", "nearest") == "linear"
        and attributes.get_string("coordinate_transformation_mode", "half_pixel")
        in ("half_pixel", "pytorch_half_pixel")
        and not attributes.get_int("antialias", 0)
        and scales is not None
        and scales.tolist() == [1, 1, 2, 2]
    )
    return None if known else "its upsampling is not bilinear with a constant factor of 2"


def why_not_4x4_stride_2(node: ir.Node) -> str | None:
    """Why a convolution, transposed or not, is not 4x4 with stride 2, border 1 and constant weights; None if it is."""
    given, weight = node.attributes, numbers(node.inputs[1])
    if weight is None:
        return "its weight is not constant"
    if len(node.inputs) > 2 and node.inputs[2] is not None and numbers(node.inputs[2]) is None:
        return "its bias is not constant"
    plain = (
        weight.shape[2:] == (4, 4)
        and list(given.get_ints("strides", [1, 1])) == [2, 2]
        and list(given.get_ints("pads", [0, 0, 0, 0])) == [1, 1, 1, 1]
        and all(step == 1 for step in given.get_ints("dilations", [1, 1]))
        and not any(given.get_ints("output_padding", [0, 0]))
        and given.get_string("auto_pad", "NOTSET") == "NOTSET"
        and given.get_int("group", 1) == 1
        and "output_shape" not in given
    )
    return None if plain else "it is not 4x4 with stride 2 and a border of 1"


def producer_of(value: ir.Value) -> ir.Node:
    """The node that computes a value, which must not be a graph input or a constant."""
    node = value.producer()
    assert node is not None
    return node


def attributes(node: ir.Node) -> dict[str, Any]:
    """A copy of a node's attributes, for another node with the same operator."""
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


def at_size(model: ir.Model, sizes: dict[str, int]) -> ir.Model:
    """A copy of a graph with every value's shape inferred from the sizes of its named dimensions, such as
    `{"batch": 1, "height": 256, …}`. A dimension without a name is 1: noise that all images share. Nodes keep their
    order."""
    sized, sizes = model.clone(), {**trained_lengths(model), **sizes}
    for value in [*sized.graph.inputs, *sized.graph.outputs]:
        assert value.shape is not None
        value.shape = ir.Shape([_length(dim, sizes) for dim in value.shape])
    # a graph that is being converted to half precision has types that do not match yet
    ShapeInferencePass(check_type=False, data_prop=True)(sized)
    return sized


def set_trained_lengths(model: ir.Model, lengths: Mapping[str, int]) -> None:
    """Note the lengths of extra inputs' named dimensions at the trained size; copies of the graph keep them."""
    model.metadata_props.update({f"{_TRAINED}{name}": str(length) for name, length in lengths.items()})


def trained_lengths(model: ir.Model) -> dict[str, int]:
    """What `set_trained_lengths` noted."""
    noted = {name: value for name, value in model.metadata_props.items() if name.startswith(_TRAINED)}
    return {name.removeprefix(_TRAINED): int(value) for name, value in noted.items()}


def _length(dim: int | ir.SymbolicDim, sizes: dict[str, int]) -> int:
    if isinstance(dim, int):
        return dim
    return 1 if dim.value is None else sizes[str(dim.value)]


def one_image(side: int) -> dict[str, int]:
    """The sizes of a frame graph's dimensions for one square image."""
    return {"batch": 1, "styles": 1, "height": side, "width": side}


def neutral_weights(graph: ir.Graph, channels: int) -> tuple[ir.Value, ir.Value]:
    """Scale and shift [C] for a norm without weights: 1 and 0."""
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    return add_constant(graph, f"one.{channels}", ones), add_constant(graph, f"zero.{channels}", zeros)


def add_constant(graph: ir.Graph, name: str, array: NDArray[Any]) -> ir.Value:
    """The initializer of that name if it equals `array`; else a new one, numbered if the name is taken."""
    for candidate in itertools.chain([name], (f"{name}.{number}" for number in itertools.count(2))):
        known = graph.initializers.get(candidate)
        if known is None:
            break
        held = known.const_value.numpy() if known.const_value is not None else None
        if held is not None and held.dtype == array.dtype and np.array_equal(held, array):
            return known
    tensor = ir.tensor(array, name=candidate)
    kind = ir.TensorType(tensor.dtype)
    value = ir.Value(name=candidate, const_value=tensor, shape=ir.Shape(array.shape), type=kind)
    graph.initializers[candidate] = value
    return value


def add_node(
    place: ir.Node,
    operator: str,
    *inputs: ir.Value | None,
    of: str = "",
    dtype: ir.TypeProtocol | None = None,
    **attributes: int | Sequence[int],
) -> ir.Value:
    """Insert a node in front of `place`, and return its output.

    The output has the type of `place`'s output unless `dtype` is given. The node is named after `place` and the
    operator; `of` tells several nodes with the same operator apart.
    """
    node = ir.node(operator, inputs, attributes, name=f"{place.name}.{operator}{of}")
    [output] = node.outputs
    output.name, output.type = node.name, dtype or place.outputs[0].type
    assert place.graph is not None
    place.graph.insert_before(place, node)
    return output


def replace_node(node: ir.Node, result: ir.Value) -> None:
    """Remove a node with one output, and let its readers read `result` instead."""
    [output], graph = node.outputs, node.graph
    assert graph is not None
    if output.is_graph_output():
        result.name, result.shape = output.name, output.shape
    output.replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove(node, safe=True)
