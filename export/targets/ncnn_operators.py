"""ncnn's layers for every operator but windows: norms, activations, arithmetic, and what cuts, joins and resizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from starcast.export.graphs.facts import doubling, interpolating, is_neutral, numbers, scalar
from starcast.export.targets.ncnn_layer import Layer, NoCounterpartError, constant, no_counterpart, raw, reads
from starcast.export.targets.ncnn_windows import border, convolution, deconvolution, is_kernel, pooling
from starcast.runtime.engines.ncnn_graph import IMAGE

_OPERATIONS = {"Add": 0, "Sub": 1, "Mul": 2, "Div": 3}
_BY_COLUMN = {"Add": "Bias", "Mul": "Scale"}  # layers with one constant per channel
_TO_THE_END = -233  # where a range ends
_LAST = 2**31 - 1  # exporters write the greatest whole number of 32 or 64 bits for the end of an axis
_NEAREST, _BILINEAR = 1, 2


def layer_of(node: ir.Node) -> Layer:
    """The layer for a node. Raises NoCounterpartError."""
    if node.op_type not in _LAYERS:
        raise no_counterpart(node, f"its graphs have no {node.op_type}")
    return _LAYERS[node.op_type](node)


def input_layer(value: ir.Value, trained: Mapping[str, int]) -> Layer:
    """An input layer, with the shape that the runtime checks: a condition's length, and the sides of noise.

    Inputs that grow with the image, such as masks, state their sides for an image of the trained size, and the image
    then states that size; `trained` has the lengths by name. If there are none, the image states no size and may have
    any. Raises NoCounterpartError for an input of another kind.
    """
    lengths = [dim if isinstance(dim, int) else trained.get(str(dim.value)) for dim in list(value.shape or ())[1:]]
    if value.name == IMAGE:
        height, width, channels = lengths
        return Layer("Input", (), {} if None in (height, width) else dict(enumerate((width, height, channels))))  # type: ignore[arg-type]
    if None in lengths or len(lengths) not in (1, 3):
        raise NoCounterpartError(
            f"the frame graph takes {value.name}, which is neither a vector nor maps of known size"
        )
    return Layer("Input", (), dict(enumerate(reversed(lengths))))  # type: ignore[arg-type]


def _instance_norm(node: ir.Node) -> Layer:
    scale, shift = constant(node, 1), constant(node, 2)
    epsilon = float(node.attributes.get_float("epsilon", 1e-5))
    if is_neutral(node.inputs[1], 1) and is_neutral(node.inputs[2], 0):
        return Layer("InstanceNorm", reads(node, 1), {0: 0, 1: epsilon, 2: 0})
    return Layer("InstanceNorm", reads(node, 1), {0: len(scale), 1: epsilon, 2: 1}, raw(scale) + raw(shift))


def _leaky_relu(node: ir.Node) -> Layer:
    return Layer("ReLU", reads(node, 1), {0: float(node.attributes.get_float("alpha", 0.01))})


def _relu(node: ir.Node) -> Layer:
    return Layer("ReLU", reads(node, 1), {0: 0.0})


def _tanh(node: ir.Node) -> Layer:
    return Layer("TanH", reads(node, 1))


def _arithmetic(node: ir.Node) -> Layer:
    """Arithmetic on a map and a second operand: a map, a plane of noise, a column of scales or shifts, or constants."""
    operation = _OPERATIONS[node.op_type]
    first, second = reads(node, 2)
    if node.op_type in {"Add", "Mul"} and numbers(first) is not None:
        first, second = second, first
    array, number = numbers(second), scalar(second)
    if numbers(first) is not None:
        raise no_counterpart(node, "its first operand is a constant")
    if array is None:
        return Layer("BinaryOp", (first, second), {0: operation})
    if number is not None:
        return Layer("BinaryOp", (first,), {0: operation, 1: 1, 2: number})
    if node.op_type not in _BY_COLUMN or array.shape[-3:] != (array.size, 1, 1):
        raise no_counterpart(node, f"a constant of shape {list(array.shape)} is its second operand")
    return Layer(_BY_COLUMN[node.op_type], (first,), {0: array.size}, raw(array))


def _square_root(node: ir.Node) -> Layer:
    return Layer("UnaryOp", reads(node, 1), {0: 5})


def _mean_of_maps(node: ir.Node) -> Layer:
    if constant(node, 1).tolist() != [2, 3] or not node.attributes.get_int("keepdims", 1):
        raise no_counterpart(node, "it is not the mean of a whole map")
    mean, height_and_width, corrected = 3, (1, 2), 1
    return Layer("Reduction", reads(node, 1), {0: mean, 1: 0, 3: height_and_width, 4: 1, 5: corrected})


def _resize(node: ir.Node) -> Layer:
    is_nearest = node.attributes.get_string("mode", "nearest") == "nearest"
    reason = doubling(node) if is_nearest else interpolating(node)
    if reason is not None:
        raise no_counterpart(node, reason)
    return Layer("Interp", reads(node, 1), {0: _NEAREST if is_nearest else _BILINEAR, 1: 2.0, 2: 2.0})


def _split(node: ir.Node) -> Layer:
    """A split of channels, or of scales and shifts. ONNX's axis 1 is ncnn's axis 0, because ncnn has no batch."""
    if node.attributes.get_int("axis", 0) != 1:
        raise no_counterpart(node, "it does not split channels")
    widths = [int(width) for width in constant(node, 1)] if len(node.inputs) > 1 else [-233] * len(node.outputs)
    return Layer("Slice", reads(node, 1), {0: widths, 1: 0})  # -233: an equal share


def _crop(node: ir.Node) -> Layer:
    """A range along some axes, which are ONNX's minus the batch."""
    starts, ends = constant(node, 1).tolist(), constant(node, 2).tolist()
    axes = constant(node, 3).tolist() if len(node.inputs) > 3 and node.inputs[3] is not None else range(len(starts))
    steps = constant(node, 4).tolist() if len(node.inputs) > 4 and node.inputs[4] is not None else [1]
    if min(axes) < 1:
        raise no_counterpart(node, "it cuts the batch, or counts its axes from the end")
    if any(step != 1 for step in steps):
        raise no_counterpart(node, "it leaves gaps")
    until = [_TO_THE_END if end >= _LAST else end for end in ends]
    if min(starts) <= _TO_THE_END or any(end < _TO_THE_END or end == 0 for end in until):
        raise no_counterpart(node, "its range is counted from too far behind the end")
    return Layer("Crop", reads(node, 1), {9: starts, 10: until, 11: [axis - 1 for axis in axes]})


def _concat(node: ir.Node) -> Layer:
    axis = node.attributes.get_int("axis", 0)
    if axis < 1:
        raise no_counterpart(node, "it joins along the batch, or counts its axis from the end")
    return Layer("Concat", reads(node, len(node.inputs)), {0: axis - 1})


def _shuffled(node: ir.Node) -> Layer:
    """Squares of pixels as channels, or channels as squares of pixels."""
    side = node.attributes.get_int("blocksize", 0)
    if node.op_type == "SpaceToDepth":
        phase_first = 1
        return Layer("Reorg", reads(node, 1), {0: side, 1: phase_first})
    return Layer("PixelShuffle", reads(node, 1), {0: side, 1: int(node.attributes.get_string("mode", "DCR") == "DCR")})


def _reshaped(node: ir.Node) -> Layer:
    """A vector [N, T] as maps [N, C, h, w] (for scales and shifts, h and w are 1, so that they multiply maps), or as a
    kernel."""
    wanted = constant(node, 1).tolist()
    if is_kernel(node.outputs[0]):
        outputs, inputs, height, width = wanted
        return Layer("Reshape", reads(node, 1), {0: width, 1: height, 11: inputs, 2: outputs})
    if len(wanted) != 4 or min(wanted[2:]) < 1:
        raise no_counterpart(node, "it does not make maps of a fixed size")
    height, width = wanted[2:]
    return Layer("Reshape", reads(node, 1), {0: width, 1: height, 2: -1})


def _column(node: ir.Node) -> Layer:
    """Scales or shifts [N, C] as [N, C, 1, 1]."""
    if constant(node, 1).tolist() != [2, 3]:
        raise no_counterpart(node, "it does not make a column of channels")
    return Layer("Reshape", reads(node, 1), {0: 1, 1: 1, 2: -1})


_LAYERS: Mapping[str, Callable[[ir.Node], Layer]] = {
    "Conv": convolution,
    "ConvTranspose": deconvolution,
    "AveragePool": pooling,
    "Pad": border,
    "InstanceNormalization": _instance_norm,
    "LeakyRelu": _leaky_relu,
    "Relu": _relu,
    "Tanh": _tanh,
    "Add": _arithmetic,
    "Sub": _arithmetic,
    "Mul": _arithmetic,
    "Div": _arithmetic,
    "Sqrt": _square_root,
    "ReduceMean": _mean_of_maps,
    "Resize": _resize,
    "Split": _split,
    "Slice": _crop,
    "Concat": _concat,
    "Reshape": _reshaped,
    "Unsqueeze": _column,
    "SpaceToDepth": _shuffled,
    "DepthToSpace": _shuffled,
}
