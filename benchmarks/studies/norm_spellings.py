"""Other ways to write an instance norm with scale and shift, for comparison with the one used in bundles.

Each is a function that gets a norm in half precision, as `to_half` leaves it, and adds the nodes that replace it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from starcast.export.graphs.facts import add_constant, numbers
from starcast.export.passes.instance_norms import InstanceNorm, instance_norms

FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
Add = Callable[..., ir.Value]  # (operator, *inputs, **attributes): the output of a new node
Spelling = Callable[[Add, ir.Graph, InstanceNorm], ir.Value]


def write_norms(model: ir.Model, spelling: Spelling) -> None:
    """Write all norms of a frame graph in half precision with `spelling`, in place."""
    graph = model.graph
    for norm in list(instance_norms(graph)):
        number = itertools.count(1)

        def add(
            operator: str, *inputs: ir.Value, norm: InstanceNorm = norm, number: Any = number, **attributes: Any
        ) -> ir.Value:
            node = ir.node(operator, list(inputs), attributes, name=f"{norm.name}.{operator}.{next(number)}")
            [output] = node.outputs
            output.name = node.name
            output.type = ir.TensorType(attributes["to"]) if "to" in attributes else inputs[0].type
            graph.insert_before(norm.nodes[-1], node)
            return output

        norm.output.replace_all_uses_with(spelling(add, graph, norm))
        graph.remove(reversed(norm.nodes), safe=True)


def native_then_affine(add: Add, graph: ir.Graph, norm: InstanceNorm) -> ir.Value:
    """InstanceNormalization with scale 1 and shift 0, then Mul and Add, as exporters write AdaIN."""
    channels = np.ones(_channels(norm), np.float16)
    ones, zeros = add_constant(graph, "ones.half", channels), add_constant(graph, "zeros.half", 0 * channels)
    plain = add("InstanceNormalization", norm.x, ones, zeros, epsilon=norm.epsilon)
    return _affine(add, graph, norm, plain)


def native_with_the_styles(add: Add, graph: ir.Graph, norm: InstanceNorm) -> ir.Value:
    """InstanceNormalization with the style's scale and shift, for one style."""
    flat = add_constant(graph, "flat", np.array([-1], np.int64))
    scale, shift = (add("Reshape", add("Cast", value, to=HALF), flat) for value in (norm.scale, norm.shift))
    return add("InstanceNormalization", norm.x, scale, shift, epsilon=norm.epsilon)


def all_in_half(add: Add, graph: ir.Graph, norm: InstanceNorm) -> ir.Value:
    """Two passes without a cast. Squares overflow from 256 on."""
    centred = add("Sub", norm.x, _mean(add, graph, norm.x))
    variance = _mean(add, graph, add("Mul", centred, centred))
    small = add_constant(graph, f"epsilon.half.{norm.epsilon!r}", np.array(norm.epsilon, np.float16))
    return _affine(add, graph, norm, add("Div", centred, add("Sqrt", add("Add", variance, small))))


def two_passes_float_apply(add: Add, graph: ir.Graph, norm: InstanceNorm) -> ir.Value:
    wide = add("Cast", norm.x, to=FLOAT)
    centred = add("Sub", wide, _mean(add, graph, wide))
    root = _inverse(add, graph, norm, _mean(add, graph, add("Mul", centred, centred)))
    factor = add("Mul", _column(graph, norm.scale), root)
    return add("Cast", add("Add", add("Mul", centred, factor), _column(graph, norm.shift)), to=HALF)


def one_pass_float_apply(add: Add, graph: ir.Graph, norm: InstanceNorm) -> ir.Value:
    wide = add("Cast", norm.x, to=FLOAT)
    mean, factor = _one_pass(add, graph, norm, wide)
    scaled = add("Mul", add("Sub", wide, mean), factor)
    return add("Cast", add("Add", scaled, _column(graph, norm.shift)), to=HALF)


def one_pass_product_and_sum(add: Add, graph: ir.Graph, norm: InstanceNorm) -> ir.Value:
    """x a + b in half: costs as much as the shifted apply, with 10 to 1000 times its error if means are far from 0."""
    mean, factor = _one_pass(add, graph, norm, add("Cast", norm.x, to=FLOAT))
    shift = add("Sub", _column(graph, norm.shift), add("Mul", mean, factor))
    return add("Add", add("Mul", norm.x, add("Cast", factor, to=HALF)), add("Cast", shift, to=HALF))


def one_pass_flattened(add: Add, graph: ir.Graph, norm: InstanceNorm) -> ir.Value:
    """One pass over [N, C, H W], all in float32: one kernel per norm up to 32x32, if one style serves all images. The
    kernel reads one channel at a time from maps whose channels are adjacent; this cost is not counted."""
    rows, column = add_constant(graph, "rows", np.array([0, 0, -1], np.int64)), (norm.scale, norm.shift)
    wide = add("Cast", add("Reshape", norm.x, rows), to=FLOAT)
    scale, shift = (add("Reshape", _column(graph, value), rows) for value in column)
    over = add_constant(graph, "axes.2", np.array([2], np.int64))
    mean, squares = add("ReduceMean", wide, over), add("ReduceMean", add("Mul", wide, wide), over)
    factor = add("Mul", scale, _root(add, graph, norm, mean, squares))
    applied = add("Add", add("Mul", add("Sub", wide, mean), factor), shift)
    return add("Reshape", add("Cast", applied, to=HALF), add("Shape", norm.x))


SPELLINGS: dict[str, Spelling] = {
    "native, then Mul and Add": native_then_affine,
    "native, the style's scale and shift in it": native_with_the_styles,
    "two passes, all in half": all_in_half,
    "two passes, apply in float32": two_passes_float_apply,
    "one pass, apply in float32": one_pass_float_apply,
    "one pass, x a + b in half": one_pass_product_and_sum,
    "one pass, planes flattened, apply in float32": one_pass_flattened,
}


def _one_pass(add: Add, graph: ir.Graph, norm: InstanceNorm, wide: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Mean and scale / std."""
    mean, squares = _mean(add, graph, wide), _mean(add, graph, add("Mul", wide, wide))
    return mean, add("Mul", _column(graph, norm.scale), _root(add, graph, norm, mean, squares))


def _root(add: Add, graph: ir.Graph, norm: InstanceNorm, mean: ir.Value, squares: ir.Value) -> ir.Value:
    """1 / std of planes, from their means and means of squares."""
    zero = add_constant(graph, "zero", np.array(0, np.float32))
    return _inverse(add, graph, norm, add("Max", add("Sub", squares, add("Mul", mean, mean)), zero))


def _inverse(add: Add, graph: ir.Graph, norm: InstanceNorm, variance: ir.Value) -> ir.Value:
    small = add_constant(graph, f"epsilon.{norm.epsilon!r}", np.array(norm.epsilon, np.float32))
    return add("Reciprocal", add("Sqrt", add("Add", variance, small)))


def _affine(add: Add, graph: ir.Graph, norm: InstanceNorm, value: ir.Value) -> ir.Value:
    scale, shift = (add("Cast", _column(graph, given), to=HALF) for given in (norm.scale, norm.shift))
    return add("Add", add("Mul", value, scale), shift)


def _mean(add: Add, graph: ir.Graph, value: ir.Value) -> ir.Value:
    return add("ReduceMean", value, add_constant(graph, "axes.2.3", np.array([2, 3], np.int64)))


def _column(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """A scale or shift in a shape that broadcasts to [N, C, H, W]."""
    array = numbers(value)
    if array is None or array.ndim != 1:
        return value
    return add_constant(graph, f"{value.name}.column", array.astype(np.float32)[None, :, None, None])


def _channels(norm: InstanceNorm) -> int:
    """The norm's number of channels, from its weights."""
    weight = numbers(norm.nodes[0].inputs[1])
    assert weight is not None
    return len(weight)
