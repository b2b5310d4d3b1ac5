"""ONNX operators as torch calls: a table of builders that turn a node's attributes and constants into a call.

Shapes, axes and bounds must be constants: the host does not know a value computed on the GPU, and asking for it would
break a CUDA graph. Styles and images never decide a shape in our graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.tensor_adapters import to_torch_dtype
from torch import Tensor
from torch.nn import functional as F

from starcast.errors import EngineError
from starcast.export.graphs.facts import doubling, numbers, scalar

Call = Callable[..., Any]  # a node's inputs, None for an omitted one -> its output, or a tuple of outputs


def call_for(node: ir.Node) -> Call:
    """The call for a node. Raises EngineError, with the node's name, for an unknown operator or use of one."""
    if node.domain in ("", "ai.onnx"):
        if node.op_type in ELEMENTWISE:
            return ELEMENTWISE[node.op_type]
        if node.op_type in OPERATORS:
            return OPERATORS[node.op_type](node)
    raise EngineError(
        f"{node.name} is a {node.op_type}, which the torch engine does not support: use another --backend"
    )


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")


def _over_all(pairwise: Callable[[Tensor, Tensor], Tensor]) -> Call:
    def run(first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = pairwise(first, other)
        return first

    return run


def _batch_norm(node: ir.Node) -> Call:
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    _refuse_if(bool(node.attributes.get_int("training_mode", 0)), node, "it uses a batch's own statistics")

    def run(x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return F.batch_norm(x, mean, variance, scale, shift, eps=epsilon)

    return run


def _cast(node: ir.Node) -> Call:
    dtype = to_torch_dtype(ir.DataType(node.attributes["to"].as_int()))
    return lambda x: x.to(dtype)


def _clip(node: ir.Node) -> Call:
    low, high = (None if _input(node, index) is None else _scalar(node, index) for index in (1, 2))
    return _as_it_is if low is None and high is None else lambda x, *_: torch.clamp(x, low, high)


def _concat(node: ir.Node) -> Call:
    axis = node.attributes["axis"].as_int()
    return lambda *parts: torch.cat(parts, axis)


def _convolution(node: ir.Node) -> Call:
    strides, dilations = _pair(node, "strides"), _pair(node, "dilations")
    group, (around, padding) = node.attributes.get_int("group", 1), _padding(node)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(around(x), weight, bias, strides, padding, dilations, group)

    return run


def _transposed_convolution(node: ir.Node) -> Call:
    strides, dilations = _pair(node, "strides"), _pair(node, "dilations")
    group, padding, more = node.attributes.get_int("group", 1), _even_pads(node), _pair(node, "output_padding", 0)
    _refuse_if("output_shape" in node.attributes, node, "its output's shape is given")

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv_transpose2d(x, weight, bias, strides, padding, more, group, dilations)

    return run


def _average_pool(node: ir.Node) -> Call:
    given = node.attributes
    kernel, strides = _pair(node, "kernel_shape"), _pair(node, "strides")
    counted, ceil = bool(given.get_int("count_include_pad", 0)), bool(given.get_int("ceil_mode", 0))
    _refuse_if(_pair(node, "dilations") != (1, 1), node, "its pool has gaps")
    if counted:
        around, padding = _padding(node)
    else:
        around, padding = _as_it_is, _even_pads(node)
    return lambda x: F.avg_pool2d(around(x), kernel, strides, padding, ceil, counted)


def _depth_to_space(node: ir.Node) -> Call:
    side = node.attributes["blocksize"].as_int()
    if node.attributes.get_string("mode", "DCR") == "CRD":
        return lambda x: F.pixel_shuffle(x, side)

    def run(x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        blocks = x.reshape(count, side, side, channels // side**2, height, width)
        shape = (count, channels // side**2, height * side, width * side)
        return blocks.permute(0, 3, 4, 1, 5, 2).reshape(shape)

    return run


def _flatten(node: ir.Node) -> Call:
    axis = node.attributes.get_int("axis", 1)
    return lambda x: x.reshape(x.shape[:axis].numel(), -1)


def _gather(node: ir.Node) -> Call:
    axis = node.attributes.get_int("axis", 0) or 0

    def run(x: Tensor, indices: Tensor) -> Tensor:
        place = axis % x.dim()
        taken = torch.index_select(x, place, torch.remainder(indices.flatten(), x.shape[place]))
        return taken.reshape(*x.shape[:place], *indices.shape, *x.shape[place + 1 :])

    return run


def _gemm(node: ir.Node) -> Call:
    given = node.attributes
    turned = [bool(given.get_int(name, 0)) for name in ("transA", "transB")]
    alpha, beta = given.get_float("alpha", 1.0), given.get_float("beta", 1.0)

    def run(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
        a, b = (factor.t() if turn else factor for factor, turn in zip((a, b), turned, strict=True))
        return alpha * (a @ b) if bias is None else torch.addmm(bias, a, b, beta=beta, alpha=alpha)

    return run


def _leaky_relu(node: ir.Node) -> Call:
    slope = node.attributes.get_float("alpha", 0.01)
    return lambda x: F.leaky_relu(x, slope)


def _pad(node: ir.Node) -> Call:
    pads, mode = _ints(node, 1), node.attributes.get_string("mode", "constant") or "constant"
    _refuse_if(mode not in {"constant", "reflect"} or _input(node, 3) is not None, node, "its padding mode is unknown")
    value = 0.0 if _input(node, 2) is None else _scalar(node, 2)
    rank = len(pads) // 2
    # torch lists the last axis first, with both of its ends; it reflects at most two axes
    ends = [pads[axis + end * rank] for axis in reversed(range(rank)) for end in (0, 1)]
    if mode == "reflect":
        _refuse_if(any(ends[4:]), node, "it reflects more than two axes")
        return lambda x, *_: F.pad(x, ends[:4], mode)
    return lambda x, *_: F.pad(x, ends, mode, value)


_REDUCTION = (("keepdims", 1), ("noop_with_empty_axes", 0))


def _reduced(torch_call: Callable[..., Tensor]) -> Callable[[ir.Node], Call]:
    def make(node: ir.Node) -> Call:
        axes, given = _axes(node), node.attributes
        keep, noop = (bool(given.get_int(name, default)) for name, default in _REDUCTION)
        if axes is None and noop:
            return _as_it_is
        return lambda x, *_: torch_call(x, dim=list(range(x.dim())) if axes is None else axes, keepdim=keep)

    return make


def _reshape(node: ir.Node) -> Call:
    shape, literal = _ints(node, 1), bool(node.attributes.get_int("allowzero", 0))

    def run(x: Tensor, _: Tensor) -> Tensor:
        # 0 keeps the size
        return x.reshape([x.shape[axis] if size == 0 and not literal else size for axis, size in enumerate(shape)])

    return run


def _resize(node: ir.Node) -> Call:
    size = _bilinear_size(node)
    if size is not None:
        return lambda x, *_: F.interpolate(x, size=size, mode="bilinear")
    refusal = doubling(node)
    _refuse_if(refusal is not None, node, str(refusal))
    return lambda x, *_: F.interpolate(x, scale_factor=2.0, mode="nearest")


def _bilinear_size(node: ir.Node) -> list[int] | None:
    """The fixed height and width that an image is interpolated to; None for another resize."""
    given, grid = node.attributes, node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    bilinear = (
        given.get_string("mode", "nearest") == "linear"
        and grid in ("half_pixel", "pytorch_half_pixel")
        and not given.get_int("antialias", 0)
        and list(given.get_ints("axes", []) or []) == [2, 3]
        and given.get_string("keep_aspect_ratio_policy", "stretch") == "stretch"
    )
    sizes = numbers(_input(node, 3)) if bilinear else None
    return None if sizes is None else [int(side) for side in sizes]


def _slice(node: ir.Node) -> Call:
    starts, ends = _ints(node, 1), _ints(node, 2)
    axes = range(len(starts)) if _input(node, 3) is None else _ints(node, 3)
    steps = [1] * len(starts) if _input(node, 4) is None else _ints(node, 4)
    _refuse_if(min(steps) < 1, node, "it steps backwards")
    cuts = list(zip(axes, map(slice, starts, ends, steps), strict=True))

    def run(x: Tensor, *_: Tensor) -> Tensor:
        parts = [slice(None)] * x.dim()
        for axis, part in cuts:
            parts[axis] = part
        return x[tuple(parts)]

    return run


def _split(node: ir.Node) -> Call:
    axis = node.attributes.get_int("axis", 0) or 0
    sizes = _ints(node, 1) if _input(node, 1) is not None else list(node.attributes.get_ints("split", []) or [])
    if sizes:
        return lambda x, *_: torch.split(x, sizes, axis)
    count = len(node.outputs)
    return lambda x: torch.split(x, -(-x.shape[axis] // count), axis)


def _squeeze(node: ir.Node) -> Call:
    axes = _axes(node)
    return lambda x, *_: torch.squeeze(x) if axes is None else torch.squeeze(x, axes)


def _transpose(node: ir.Node) -> Call:
    order = node.attributes.get_ints("perm")
    return lambda x: x.permute(order or tuple(reversed(range(x.dim()))))


def _unsqueeze(node: ir.Node) -> Call:
    axes = _axes(node) or []

    def run(x: Tensor, *_: Tensor) -> Tensor:
        rank = x.dim() + len(axes)
        for axis in sorted(axis % rank for axis in axes):
            x = x.unsqueeze(axis)
        return x

    return run


ELEMENTWISE: dict[str, Call] = {
    "Abs": torch.abs, "Add": torch.add, "Div": _divide, "Exp": torch.exp,
    "GreaterOrEqual": torch.greater_equal, "Identity": lambda x: x, "IsNaN": torch.isnan, "Less": torch.less,
    "Max": _over_all(torch.maximum), "Min": _over_all(torch.minimum), "MatMul": torch.matmul, "Mul": torch.mul,
    "Neg": torch.neg, "Pow": torch.pow, "Reciprocal": torch.reciprocal, "Relu": torch.relu, "Round": torch.round,
    "Sigmoid": torch.sigmoid, "Sqrt": torch.sqrt, "Sub": torch.sub, "Tanh": torch.tanh,
    "Where": torch.where,
}  # fmt: skip
OPERATORS: dict[str, Callable[[ir.Node], Call]] = {
    "AveragePool": _average_pool, "BatchNormalization": _batch_norm, "Cast": _cast, "Clip": _clip, "Concat": _concat,
    "Conv": _convolution, "ConvTranspose": _transposed_convolution, "DepthToSpace": _depth_to_space,
    "Flatten": _flatten, "Gather": _gather, "Gemm": _gemm, "LeakyRelu": _leaky_relu, "Pad": _pad,
    "ReduceMax": _reduced(torch.amax), "ReduceMean": _reduced(torch.mean), "ReduceMin": _reduced(torch.amin),
    "ReduceSum": _reduced(torch.sum), "Reshape": _reshape, "Resize": _resize, "Slice": _slice, "Split": _split,
    "Squeeze": _squeeze, "Transpose": _transpose, "Unsqueeze": _unsqueeze,
}  # fmt: skip


def _as_it_is(x: Tensor, *_: Tensor) -> Tensor:
    return x


def _refuse_if(wrong: bool, node: ir.Node, reason: str) -> None:
    if wrong:
        raise EngineError(f"{node.name} is a {node.op_type} that the torch engine cannot run: {reason}")


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _ints(node: ir.Node, index: int) -> list[int]:
    """A constant list of integers."""
    array = numbers(_input(node, index))
    if array is None:
        raise EngineError(f"{node.name} is a {node.op_type} that the torch engine cannot run: a shape is computed")
    return [int(number) for number in array.flat]


def _scalar(node: ir.Node, index: int) -> float:
    number = scalar(_input(node, index))
    if number is None:
        raise EngineError(f"{node.name} is a {node.op_type} that the torch engine cannot run: a bound is computed")
    return number


def _axes(node: ir.Node) -> list[int] | None:
    """A node's axes: an input since opset 13 or 18, an attribute before."""
    if _input(node, 1) is not None:
        return _ints(node, 1)
    given = node.attributes.get_ints("axes")
    return None if given is None else list(given)


def _pair(node: ir.Node, name: str, default: int = 1) -> tuple[int, ...]:
    pair = tuple(node.attributes.get_ints(name, (default, default)) or ())
    _refuse_if(len(pair) != 2, node, f"its {name} are not two-dimensional")
    return pair


def _pads(node: ir.Node) -> tuple[int, ...]:
    """A node's borders: top, left, bottom, right."""
    _refuse_if(node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET", node, "it uses auto_pad")
    return tuple(node.attributes.get_ints("pads", (0, 0, 0, 0)) or ())


def _even_pads(node: ir.Node) -> tuple[int, int]:
    top, left, bottom, right = _pads(node)
    _refuse_if((top, left) != (bottom, right), node, "its borders differ from side to side")
    return top, left


def _padding(node: ir.Node) -> tuple[Call, tuple[int, int]]:
    """A function that pads with zeros first, and the border that torch's operator then adds."""
    top, left, bottom, right = _pads(node)
    if (top, left) == (bottom, right):
        return _as_it_is, (top, left)
    ends: Sequence[int] = (left, right, top, bottom)
    return lambda x: F.pad(x, ends), (0, 0)
