"""ncnn's layers that move a window over a map: convolutions, pooling and borders."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from starcast.export.graphs.facts import numbers, producer_of
from starcast.export.targets.ncnn_layer import Layer, constant, ints, no_counterpart, raw, reads

_BORDERS = {"constant": 0, "edge": 1}


def convolution(node: ir.Node) -> Layer:
    """Convolution, or ConvolutionDepthWise for one filter a channel."""
    if is_kernel(node.inputs[1]):
        return _computed_convolution(node)
    weight, bias = _weights(node)
    kind, group = _kind(node, "Convolution", len(weight), weight.shape[1])
    return Layer(kind, reads(node, 1), {**_window(node, weight, bias), **group}, _pack(weight, bias))


def _computed_convolution(node: ir.Node) -> Layer:
    """A convolution whose weight is computed from the condition: ncnn takes its shape from the blob."""
    if len(node.inputs) > 2 or node.attributes.get_int("group", 1) != 1 or _pads_by_itself(node):
        raise no_counterpart(node, "its weight is computed, and it has a bias or groups, or uses auto_pad")
    outputs, _, height, width = constant(producer_of(node.inputs[1]), 1).tolist()  # type: ignore[arg-type]
    dynamic = {5: 0, 6: 0, 19: 1}
    return Layer("Convolution", reads(node, 2), {0: outputs, 1: width, 11: height, **_steps(node), **dynamic})


def deconvolution(node: ir.Node) -> Layer:
    """Deconvolution, or DeconvolutionDepthWise for one filter a channel."""
    weight, bias = _weights(node)
    if "output_shape" in node.attributes:
        raise no_counterpart(node, "its output size is given")
    kind, group = _kind(node, "Deconvolution", len(weight), weight.shape[1])
    if not group:
        weight = weight.swapaxes(0, 1)  # ONNX stores it as [in, out, …], ncnn as for a convolution
    below, beside = ints(node, "output_padding", [0, 0])
    more = {18: beside, 19: below} if below or beside else {}
    return Layer(kind, reads(node, 1), {**_window(node, weight, bias), **more, **group}, _pack(weight, bias))


def pooling(node: ir.Node) -> Layer:
    """Means of windows."""
    ceiled, dilated = node.attributes.get_int("ceil_mode", 0), ints(node, "dilations", [1, 1]) != [1, 1]
    if ceiled or dilated or _pads_by_itself(node):
        raise no_counterpart(node, "its windows leave gaps or cross the border")
    height, width = ints(node, "kernel_shape", [])
    down, across = ints(node, "strides", [1, 1])
    top, left, bottom, right = ints(node, "pads", [0, 0, 0, 0])
    mean, as_padded = 1, 1
    counted = node.attributes.get_int("count_include_pad", 0)
    window = {0: mean, 1: width, 11: height, 2: across, 12: down, 3: left, 14: right, 13: top, 15: bottom}
    return Layer("Pooling", reads(node, 1), {**window, 5: as_padded, 6: counted})


def border(node: ir.Node) -> Layer:
    """Rows and columns around a map, of zeros or like the outermost ones."""
    mode = str(node.attributes.get_string("mode", "constant"))
    widths = constant(node, 1).tolist()
    value = constant(node, 2) if len(node.inputs) > 2 and node.inputs[2] is not None else None
    axes = constant(node, 3) if len(node.inputs) > 3 and node.inputs[3] is not None else None
    if mode not in _BORDERS or axes is not None or (value is not None and value.any()):
        raise no_counterpart(node, "its border is neither zeros nor the outermost pixels")
    outside, (top, left), outside_too, (bottom, right) = widths[:2], widths[2:4], widths[4:6], widths[6:]
    if any([*outside, *outside_too]) or min(top, left, bottom, right) < 0:
        raise no_counterpart(node, "it changes the channels, or cuts the map")
    return Layer("Padding", reads(node, 1), {0: top, 1: bottom, 2: left, 3: right, 4: _BORDERS[mode]})


def _weights(node: ir.Node) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """A convolution's weight and bias."""
    if _pads_by_itself(node):
        raise no_counterpart(node, "it uses auto_pad")
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    return constant(node, 1), constant(node, 2) if has_bias else None


def _kind(node: ir.Node, kind: str, first: int, second: int) -> tuple[str, dict[int, int]]:
    """The kind of layer for a weight [first, second, …], and the parameter that says how many groups there are."""
    groups = node.attributes.get_int("group", 1)
    if groups == 1:
        return kind, {}
    if (first, second) != (groups, 1):
        raise no_counterpart(node, "it is grouped, and not by single channels")
    return f"{kind}DepthWise", {7: groups}


def _window(node: ir.Node, weight: NDArray[Any], bias: NDArray[Any] | None) -> dict[int, int]:
    """Parameters that all convolutions share. weight [out, in, height, width], or [channels, 1, height, width]."""
    height, width = weight.shape[2:]
    return {0: len(weight), 1: width, 11: height, **_steps(node), 5: int(bias is not None), 6: weight.size}


def _steps(node: ir.Node) -> dict[int, int]:
    """Parameters of a convolution's dilations, strides and border."""
    (down, across), (below, beside) = ints(node, "strides", [1, 1]), ints(node, "dilations", [1, 1])
    top, left, bottom, right = ints(node, "pads", [0, 0, 0, 0])
    return {2: beside, 12: below, 3: across, 13: down, 4: left, 15: right, 14: top, 16: bottom}


def is_kernel(value: ir.Value | None) -> bool:
    """Whether a value is a reshaped condition that is a convolution's weight."""
    node = value.producer() if value is not None else None
    if value is None or node is None or node.op_type != "Reshape":
        return False
    wanted, readers = numbers(node.inputs[1]), [(reader.op_type, place) for reader, place in value.uses()]
    return wanted is not None and len(wanted) == 4 and min(wanted) > 0 and set(readers) == {("Conv", 1)}


def _pack(weight: NDArray[Any], bias: NDArray[Any] | None) -> bytes:
    """A weight, with the header 0 for float32, and a bias, which has no header."""
    return bytes(4) + raw(weight) + (raw(bias) if bias is not None else b"")


def _pads_by_itself(node: ir.Node) -> bool:
    return node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET"
