"""Frame graphs in ncnn's own files: a text of layers and a file of weights, written straight from the rewritten graph.

    Conv -> Convolution, ConvTranspose -> Deconvolution, AveragePool -> Pooling, Split -> Slice, …

ncnn has no batch axis: its blobs are [C, H, W] for images and [T] for scales and shifts, one image at a time. It has no
byte type either. So only the graph's float part is written, and the runtime does the rest: it passes in `image`,
float32 [3, H, W] in 0..255, or each layer's noise, float32 [1, h, w], and the graph's condition, `gamma_beta` or
`style`, float32 [T], and rounds and clips `translation`, [C, H, W]. The condition stays an input, so a new style needs
no new model. A face's masks are a further input, float32 [2, h, w]: the text states their size for an image of the
trained size, and then that image's size, too. The layers are chosen in ncnn_operators.py and ncnn_windows.py.

(The converter pnnx is no alternative. It starts from TorchScript, fixes the sizes it traced, and supports only norms
with constant parameters, so rewrites and styles would have to be edited into its output.)

For parameter numbers, see ncnn's docs/developer-guide/operators.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from starcast.export.graphs.facts import trained_lengths
from starcast.export.targets.ncnn_layer import Layer, Parameter
from starcast.export.targets.ncnn_operators import input_layer, layer_of
from starcast.runtime.engines.ncnn import GRAPH_SUFFIX

PARAM, WEIGHTS = GRAPH_SUFFIX, ".bin"  # suffixes of the two files, which lie side by side
_MAGIC = 7767517
_ARRAY = -23300  # an array parameter's key is this minus its number
_BYTES_TO_FLOATS, _FLOATS_TO_BYTES = {"Cast", "Transpose"}, {"Round", "Clip", "Transpose", "Cast"}


@dataclass(frozen=True)
class NcnnModel:
    """The content of the files NAME.param (text) and NAME.bin."""

    param: str
    weights: bytes


def ncnn_model(model: ir.Model) -> NcnnModel:
    """Convert a frame graph (`image` or noise, a condition -> `translation`) without changing it.

    Raises NoCounterpartError, with the node's name, for a node that has no counterpart in ncnn.
    """
    graph = model.graph
    [output] = graph.outputs
    inputs = {value: input_layer(value, trained_lengths(model)) for value in graph.inputs}
    inputs_by_name = {_after_bytes(value): str(value.name) for value in inputs}
    last = _before_bytes(output)
    layers = {node: layer_of(node) for node in _nodes_between(graph, inputs_by_name, last)}
    uses = Counter(value for layer in layers.values() for value in layer.reads)
    uses[last] += 1
    text = _Text(uses)
    for (value, name), layer in zip(inputs_by_name.items(), inputs.values(), strict=True):
        text.add(layer, name, [value], [name])
    for node, layer in layers.items():
        text.add(layer, str(node.name), node.outputs, [str(output.name)] if node.outputs[0] is last else None)
    return NcnnModel(str(text), b"".join(text.weights))


def write_ncnn(model: ir.Model, path: Path) -> tuple[Path, ...]:
    """Write ncnn's two files: `path` (.param), and beside it the weights, whose path is returned.

    Raises NoCounterpartError for a node that has no counterpart in ncnn.
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
