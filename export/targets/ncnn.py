"""Frame graphs in ncnn's own files: a text of layers and a file of weights, written straight from the rewritten graph.

    Conv -> Convolution, ConvTranspose -> Deconvolution, AveragePool -> Pooling, Split -> Slice, …

ncnn has no batch axis: its blobs are [C, H, W] for images and [T] for scales and shifts, one image at a time. It has no
byte type either. So only the graph's float part is written, and the runtime does the rest: it passes in `image`,
float32 [3, H, W] in 0..255, and the graph's condition, `gamma_beta` or `style`, float32 [T], and rounds and clips
`translation`, [3, H, W]. The condition stays an input, so a new style needs no new model.

(The converter pnnx is no alternative. It starts from TorchScript, fixes the sizes it traced, and supports only norms
with constant parameters, so rewrites and styles would have to be edited into its output.)

For parameter numbers, see ncnn's docs/developer-guide/operators.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from starcast.errors import EngineError
from starcast.export.graphs.facts import doubling, is_neutral, numbers, scalar
from starcast.runtime.engines.ncnn import GRAPH_SUFFIX
from starcast.runtime.engines.ncnn_graph import CONDITIONS

PARAM, WEIGHTS = GRAPH_SUFFIX, ".bin"  # suffixes of the two files, which lie side by side
_MAGIC = 7767517
_ARRAY = -23300  # an array parameter's key is this minus its number
_OPERATIONS = {"Add": 0, "Sub": 1, "Mul": 2, "Div": 3}
_BY_COLUMN = {"Add": "Bias", "Mul": "Scale"}  # layers with one constant per channel
_TO_THE_END = -233  # where a range ends
_LAST = 2**31 - 1  # exporters write the greatest whole number of 32 or 64 bits for the end of an axis
_BYTES_TO_FLOATS, _FLOATS_TO_BYTES = {"Cast", "Transpose"}, {"Round", "Clip", "Transpose", "Cast"}

Parameter = int | float | Sequence[int]


class NoCounterpartError(EngineError):
    """A node that ncnn has no layer for."""

    def __init__(self, clause: str) -> None:
        super().__init__(f"{clause}: leave ncnn out of --for")
        self.clause = clause


@dataclass(frozen=True)
class NcnnModel:
    """The content of the files NAME.param (text) and NAME.bin."""

    param: str
    weights: bytes


@dataclass(frozen=True)
class Layer:
    """One of ncnn's layers for one node: its inputs, its numbered parameters, its part of the weights."""

    kind: str
    reads: tuple[ir.Value, ...]
    parameters: Mapping[int, Parameter] = field(default_factory=dict)
    weights: bytes = b""


def ncnn_model(model: ir.Model) -> NcnnModel:
    """Convert a frame graph (`image`, a condition -> `translation`) without changing it.

    Raises EngineError, with the node's name, for a node that has no counterpart in ncnn.
    """
    graph = model.graph
    beside = [str(value.name) for value in graph.inputs if value.name not in {"image", *CONDITIONS}]
    if beside:
        raise NoCounterpartError(f"the frame graph takes {' and '.join(beside)} beside image and style")
    [output] = graph.outputs
    inputs_by_name = {_after_bytes(value): str(value.name) for value in graph.inputs}
    last = _before_bytes(output)
    layers = {node: _layer(node) for node in _nodes_between(graph, inputs_by_name, last)}
    uses = Counter(value for layer in layers.values() for value in layer.reads)
    uses[last] += 1
    text = _Text(uses)
    for value, name in inputs_by_name.items():
        text.add(_input(value), name, [value], [name])
    for node, layer in layers.items():
        text.add(layer, str(node.name), node.outputs, [str(output.name)] if node.outputs[0] is last else None)
    return NcnnModel(str(text), b"".join(text.weights))


def write_ncnn(model: ir.Model, path: Path) -> tuple[Path, ...]:
    """Write ncnn's two files: `path` (.param), and beside it the weights, whose path is returned.

    Raises EngineError for a node that has no counterpart in ncnn.
    """
    written = ncnn_model(model)
    path.write_text(written.param, encoding="utf-8", newline="\n")
    weights = path.with_suffix(WEIGHTS)
    weights.write_bytes(written.weights)
    return (weights,)


class _Text:
    """The layers written so far, and the blobs that the next ones may read."""

    def __init__(self, uses: Counter[ir.Value]) -> None:
        self.weights: list[bytes] = []
        self._uses = uses
        self._lines: list[str] = []
        self._blobs = 0
        self._waiting: dict[ir.Value, Iterator[str]] = {}

    def add(self, layer: Layer, name: str, writes: Sequence[ir.Value], names: Sequence[str] | None = None) -> None:
        """Add a layer. Its blobs are named after it unless `names` are given."""
        blobs = names or ([name] if len(writes) == 1 else [f"{name}.{index}" for index in range(len(writes))])
        self._line(layer.kind, name, [next(self._waiting[value]) for value in layer.reads], blobs, layer.parameters)
        self.weights.append(layer.weights)
        for value, blob in zip(writes, blobs, strict=True):
            self._hand_out(value, blob)

    def _hand_out(self, value: ir.Value, blob: str) -> None:
        """Name a value's blob for its readers. A blob can be read only once, so each further reader gets a copy."""
        copies = [blob]
        if self._uses[value] > 1:
            copies = [f"{blob}.copy{index}" for index in range(self._uses[value])]
            self._line("Split", f"{blob}.copies", [blob], copies, {})
        self._waiting[value] = iter(copies)

    def _line(
        self, kind: str, name: str, reads: Sequence[str], writes: Sequence[str], parameters: Mapping[int, Parameter]
    ) -> None:
        values = [_format(key, value) for key, value in parameters.items()]
        self._lines.append(" ".join([kind, name, str(len(reads)), str(len(writes)), *reads, *writes, *values]))
        self._blobs += len(writes)

    def __str__(self) -> str:
        return "\n".join([str(_MAGIC), f"{len(self._lines)} {self._blobs}", *self._lines]) + "\n"


def _format(key: int, value: Parameter) -> str:
    if isinstance(value, int):
        return f"{key}={value}"
    if isinstance(value, float):
        return f"{key}={value:.8e}"  # exact for float32; ncnn's parser reads no more digits
    return f"{_ARRAY - key}={','.join(map(str, (len(value), *value)))}"


def _after_bytes(value: ir.Value) -> ir.Value:
    """The image as floats [N, 3, H, W], after the Cast and Transpose that convert it from bytes."""
    readers = [node for node, _ in value.uses()]
    if len(readers) == 1 and readers[0].op_type in _BYTES_TO_FLOATS:
        return _after_bytes(readers[0].outputs[0])
    return value


def _before_bytes(value: ir.Value) -> ir.Value:
    """The image before it is rounded, clipped and converted to bytes."""
    node = value.producer()
    if node is not None and node.op_type in _FLOATS_TO_BYTES and node.inputs[0] is not None:
        return _before_bytes(node.inputs[0])
    return value


def _nodes_between(graph: ir.Graph, inputs: Collection[ir.Value], last: ir.Value) -> list[ir.Node]:
    """The nodes that compute `last` from `inputs`, in the graph's order."""
    wanted, nodes = [last], set()
    while wanted:
        value = wanted.pop()
        node = value.producer() if value not in inputs else None
        if node is not None and node not in nodes:
            nodes.add(node)
            wanted += [value for value in node.inputs if value is not None]
    return [node for node in graph if node in nodes]


def _layer(node: ir.Node) -> Layer:
    """The layer for a node."""
    if node.op_type not in _LAYERS:
        raise _no_counterpart(node, f"its graphs have no {node.op_type}")
    return _LAYERS[node.op_type](node)


def _input(value: ir.Value) -> Layer:
    """An input layer. An image may have any size; a condition states its length, which the runtime checks."""
    length = value.shape[1] if value.shape is not None and len(value.shape) == 2 else None
    return Layer("Input", (), {0: length} if isinstance(length, int) else {})


def _convolution(node: ir.Node) -> Layer:
    top, left, bottom, right = _ints(node, "pads", [0, 0, 0, 0])
    padding = {4: left, 15: right, 14: top, 16: bottom}
    if _is_kernel(node.inputs[1]):
        return _computed_convolution(node, padding)
    weight, bias = _weights(node)
    return Layer("Convolution", _reads(node, 1), {**_kernel(node, weight, bias), **padding}, _pack(weight, bias))


def _computed_convolution(node: ir.Node, padding: Mapping[int, int]) -> Layer:
    """A convolution whose weight is computed from the condition: ncnn takes its shape from the blob."""
    if len(node.inputs) > 2 or not _is_plain(node):
        raise _no_counterpart(node, "its weight is computed, and it has a bias or groups, or uses auto_pad")
    shape = _constant(_producer(node.inputs[1]), 1)
    sides = {0: int(shape[0]), 1: int(shape[3]), 11: int(shape[2])}
    dynamic = 1
    return Layer("Convolution", _reads(node, 2), {**sides, **_steps(node), 5: 0, 6: 0, **padding, 19: dynamic})


def _deconvolution(node: ir.Node) -> Layer:
    weight, bias = _weights(node)
    if "output_shape" in node.attributes or any(_ints(node, "output_padding", [0, 0])):
        raise _no_counterpart(node, "its output size is given")
    weight = weight.swapaxes(0, 1)  # ONNX stores it as [in, out, …], ncnn as for a convolution
    top, left, bottom, right = _ints(node, "pads", [0, 0, 0, 0])
    padding = {4: left, 15: right, 14: top, 16: bottom}
    return Layer("Deconvolution", _reads(node, 1), {**_kernel(node, weight, bias), **padding}, _pack(weight, bias))


def _pooling(node: ir.Node) -> Layer:
    ceiled, dilated = node.attributes.get_int("ceil_mode", 0), _ints(node, "dilations", [1, 1]) != [1, 1]
    if ceiled or dilated or _pads_by_itself(node):
        raise _no_counterpart(node, "its windows leave gaps or cross the border")
    height, width = _ints(node, "kernel_shape", [])
    down, across = _ints(node, "strides", [1, 1])
    top, left, bottom, right = _ints(node, "pads", [0, 0, 0, 0])
    mean, as_padded = 1, 1
    counted = node.attributes.get_int("count_include_pad", 0)
    window = {0: mean, 1: width, 11: height, 2: across, 12: down, 3: left, 14: right, 13: top, 15: bottom}
    return Layer("Pooling", _reads(node, 1), {**window, 5: as_padded, 6: counted})


def _instance_norm(node: ir.Node) -> Layer:
    scale, shift = _constant(node, 1), _constant(node, 2)
    epsilon = float(node.attributes.get_float("epsilon", 1e-5))
    if is_neutral(node.inputs[1], 1) and is_neutral(node.inputs[2], 0):
        return Layer("InstanceNorm", _reads(node, 1), {0: 0, 1: epsilon, 2: 0})
    return Layer("InstanceNorm", _reads(node, 1), {0: len(scale), 1: epsilon, 2: 1}, _raw(scale) + _raw(shift))


def _leaky_relu(node: ir.Node) -> Layer:
    return Layer("ReLU", _reads(node, 1), {0: float(node.attributes.get_float("alpha", 0.01))})


def _relu(node: ir.Node) -> Layer:
    return Layer("ReLU", _reads(node, 1), {0: 0.0})


def _tanh(node: ir.Node) -> Layer:
    return Layer("TanH", _reads(node, 1))


def _arithmetic(node: ir.Node) -> Layer:
    """Arithmetic on a map and a second operand: a map, a column of scales or shifts, or constants."""
    operation = _OPERATIONS[node.op_type]
    first, second = _reads(node, 2)
    if node.op_type in {"Add", "Mul"} and numbers(first) is not None:
        first, second = second, first
    constant, number = numbers(second), scalar(second)
    if numbers(first) is not None:
        raise _no_counterpart(node, "its first operand is a constant")
    if constant is None:
        return Layer("BinaryOp", (first, second), {0: operation})
    if number is not None:
        return Layer("BinaryOp", (first,), {0: operation, 1: 1, 2: number})
    if node.op_type not in _BY_COLUMN or constant.shape[-3:] != (constant.size, 1, 1):
        raise _no_counterpart(node, f"a constant of shape {list(constant.shape)} is its second operand")
    return Layer(_BY_COLUMN[node.op_type], (first,), {0: constant.size}, _raw(constant))


def _square_root(node: ir.Node) -> Layer:
    return Layer("UnaryOp", _reads(node, 1), {0: 5})


def _mean_of_maps(node: ir.Node) -> Layer:
    if _constant(node, 1).tolist() != [2, 3] or not node.attributes.get_int("keepdims", 1):
        raise _no_counterpart(node, "it is not the mean of a whole map")
    mean, height_and_width, corrected = 3, (1, 2), 1
    return Layer("Reduction", _reads(node, 1), {0: mean, 1: 0, 3: height_and_width, 4: 1, 5: corrected})


def _resize(node: ir.Node) -> Layer:
    reason = doubling(node)
    if reason is not None:
        raise _no_counterpart(node, reason)
    nearest = 1
    return Layer("Interp", _reads(node, 1), {0: nearest, 1: 2.0, 2: 2.0})


def _split(node: ir.Node) -> Layer:
    """A split of channels, or of scales and shifts. ONNX's axis 1 is ncnn's axis 0, because ncnn has no batch."""
    if node.attributes.get_int("axis", 0) != 1:
        raise _no_counterpart(node, "it does not split channels")
    widths = [int(width) for width in _constant(node, 1)] if len(node.inputs) > 1 else [-233] * len(node.outputs)
    return Layer("Slice", _reads(node, 1), {0: widths, 1: 0})  # -233: an equal share


def _crop(node: ir.Node) -> Layer:
    """A range along some axes, which are ONNX's minus the batch."""
    starts, ends = _constant(node, 1).tolist(), _constant(node, 2).tolist()
    axes = _constant(node, 3).tolist() if len(node.inputs) > 3 and node.inputs[3] is not None else range(len(starts))
    steps = _constant(node, 4).tolist() if len(node.inputs) > 4 and node.inputs[4] is not None else [1]
    if min(axes) < 1:
        raise _no_counterpart(node, "it cuts the batch, or counts its axes from the end")
    if any(step != 1 for step in steps):
        raise _no_counterpart(node, "it leaves gaps")
    until = [_TO_THE_END if end >= _LAST else end for end in ends]
    return Layer("Crop", _reads(node, 1), {9: starts, 10: until, 11: [axis - 1 for axis in axes]})


def _concat(node: ir.Node) -> Layer:
    if node.attributes.get_int("axis", 0) != 1:
        raise _no_counterpart(node, "it does not join channels")
    return Layer("Concat", _reads(node, len(node.inputs)), {0: 0})


def _shuffled(node: ir.Node) -> Layer:
    """Squares of pixels as channels, or channels as squares of pixels."""
    side = node.attributes.get_int("blocksize", 0)
    if node.op_type == "SpaceToDepth":
        phase_first = 1
        return Layer("Reorg", _reads(node, 1), {0: side, 1: phase_first})
    return Layer("PixelShuffle", _reads(node, 1), {0: side, 1: int(node.attributes.get_string("mode", "DCR") == "DCR")})


def _reshaped(node: ir.Node) -> Layer:
    """Scales or shifts [N, C] as [N, C, 1, 1], so that they multiply maps; or the numbers of a kernel."""
    wanted = _constant(node, 1).tolist()
    if _is_kernel(node.outputs[0]):
        outputs, inputs, height, width = wanted
        return Layer("Reshape", _reads(node, 1), {0: width, 1: height, 11: inputs, 2: outputs})
    if not (wanted == [2, 3] if node.op_type == "Unsqueeze" else wanted[2:] == [1, 1] and len(wanted) == 4):
        raise _no_counterpart(node, "it does not make a column of channels")
    return Layer("Reshape", _reads(node, 1), {0: 1, 1: 1, 2: -1})


_LAYERS: Mapping[str, Callable[[ir.Node], Layer]] = {
    "Conv": _convolution,
    "ConvTranspose": _deconvolution,
    "AveragePool": _pooling,
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
    "Unsqueeze": _reshaped,
    "SpaceToDepth": _shuffled,
    "DepthToSpace": _shuffled,
}


def _reads(node: ir.Node, count: int) -> tuple[ir.Value, ...]:
    """The node's first `count` inputs, which are computed; the others are constant."""
    inputs = tuple(value for value in node.inputs[:count] if value is not None)
    assert len(inputs) == count
    return inputs


def _constant(node: ir.Node, index: int) -> NDArray[Any]:
    array = numbers(node.inputs[index])
    if array is None:
        raise _no_counterpart(node, f"its input {index} is not constant")
    return array


def _weights(node: ir.Node) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """A convolution's weight and bias."""
    if node.attributes.get_int("group", 1) != 1:
        raise _no_counterpart(node, "it is grouped")
    if _pads_by_itself(node):
        raise _no_counterpart(node, "it uses auto_pad")
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    return _constant(node, 1), _constant(node, 2) if has_bias else None


def _kernel(node: ir.Node, weight: NDArray[Any], bias: NDArray[Any] | None) -> dict[int, int]:
    """Parameters that Convolution and Deconvolution share. weight [out, in, height, width]."""
    height, width = weight.shape[2:]
    return {0: len(weight), 1: width, 11: height, **_steps(node), 5: int(bias is not None), 6: weight.size}


def _steps(node: ir.Node) -> dict[int, int]:
    """Parameters of a convolution's dilations and strides."""
    (down, across), (below, beside) = _ints(node, "strides", [1, 1]), _ints(node, "dilations", [1, 1])
    return {2: beside, 12: below, 3: across, 13: down}


def _is_kernel(value: ir.Value | None) -> bool:
    """Whether a value is a reshaped condition that is a convolution's weight."""
    node = value.producer() if value is not None else None
    if value is None or node is None or node.op_type != "Reshape":
        return False
    wanted, readers = numbers(node.inputs[1]), [(reader.op_type, place) for reader, place in value.uses()]
    return wanted is not None and len(wanted) == 4 and min(wanted) > 0 and set(readers) == {("Conv", 1)}


def _is_plain(node: ir.Node) -> bool:
    """Whether a convolution is not grouped and states its padding."""
    return node.attributes.get_int("group", 1) == 1 and not _pads_by_itself(node)


def _producer(value: ir.Value | None) -> ir.Node:
    node = value.producer() if value is not None else None
    assert node is not None
    return node


def _pack(weight: NDArray[Any], bias: NDArray[Any] | None) -> bytes:
    """A weight, with the header 0 for float32, and a bias, which has no header."""
    return bytes(4) + _raw(weight) + (_raw(bias) if bias is not None else b"")


def _raw(array: NDArray[Any]) -> bytes:
    return array.astype("<f4").tobytes()


def _ints(node: ir.Node, name: str, default: list[int]) -> list[int]:
    return list(node.attributes.get_ints(name, default))


def _pads_by_itself(node: ir.Node) -> bool:
    return node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET"


def _no_counterpart(node: ir.Node, reason: str) -> NoCounterpartError:
    return NoCounterpartError(f"the node {node.name} ({node.op_type}) cannot be written for ncnn ({reason})")
