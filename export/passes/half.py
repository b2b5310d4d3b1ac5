"""Frame graphs in half precision: float16 or bfloat16 from the first convolution to the last.

The image's scaling before the first convolution, everything after the last one, and all work on the style stay in
float32: they cost hardly any time, and a scale of 255 grey levels would lose digits.

Only types change, so the graph itself tells a strongly typed engine what to do; no engine flag is needed.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

from starcast.errors import OptionError
from starcast.export.graphs.facts import add_constant, numbers
from starcast.export.passes.instance_norms import instance_norms

_CONVOLUTIONS = {"Conv", "ConvTranspose"}
_FIRST_ALONE = {"Resize"}  # operators whose first input alone is converted: others are float32 or not image values
_SINCE = {ir.DataType.FLOAT16: 18, ir.DataType.BFLOAT16: 22}  # the first opset whose convolutions accept the type


def to_half(model: ir.Model, kind: ir.DataType, *, norms: bool = False) -> None:
    """Convert a float32 frame graph to FLOAT16 or BFLOAT16, in place.

    Without `norms`, InstanceNormalization nodes and AdaIN's Mul and Add keep float32 scales and shifts on half planes,
    which no engine accepts: `decompose_norms` must follow. With `norms`, scales and shifts become half as well.
    Raises OptionError if a weight is too large for float16.
    """
    graph = model.graph
    _set_types(model)
    graph.opset_imports[""] = max(graph.opset_imports[""], _SINCE[kind])
    float_in_norms = set() if norms else {node for norm in instance_norms(graph) for node in norm.nodes}
    conversion = _Conversion(graph, kind, float_in_norms)
    for node in list(graph):
        conversion.visit(node)
    RemoveUnusedNodesPass()(model)


class _Conversion:
    """Walks a graph in running order. A value is `mapped` if it is computed from a convolution's output."""

    def __init__(self, graph: ir.Graph, kind: ir.DataType, float_in_norms: set[ir.Node]) -> None:
        self._graph, self._kind = graph, kind
        self._mapped: set[ir.Value] = set()
        self._before_last = _in_front_of_convolutions(graph)
        self._float_in_norms = float_in_norms
        self._casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def visit(self, node: ir.Node) -> None:
        mapped = [index for index, value in enumerate(node.inputs) if value in self._mapped]
        if not mapped and node.op_type not in _CONVOLUTIONS:
            return
        self._mapped.update(node.outputs)
        if node.op_type not in _CONVOLUTIONS and node not in self._before_last:
            for index in mapped:
                self._give(node, index, ir.DataType.FLOAT)
            return
        for index in range(1 if node.op_type in _FIRST_ALONE else len(node.inputs)):
            if index in mapped or node not in self._float_in_norms:
                self._give(node, index, self._kind)
        for value in node.outputs:
            if value.dtype == ir.DataType.FLOAT:
                value.type = ir.TensorType(self._kind)

    def _give(self, node: ir.Node, index: int, kind: ir.DataType) -> None:
        """Convert a node's input to that type, if it is floating-point."""
        value = node.inputs[index]
        if value is None or value.dtype == kind or value.dtype not in {ir.DataType.FLOAT, self._kind}:
            return
        if (value, kind) not in self._casts:
            self._casts[value, kind] = self._convert(value, kind, node)
        node.replace_input_with(index, self._casts[value, kind])

    def _convert(self, value: ir.Value, kind: ir.DataType, reader: ir.Node) -> ir.Value:
        array = numbers(value)
        name = f"{value.name}.{kind.name.lower()}"
        if array is not None:
            largest = float(np.abs(array).max(initial=0))
            if kind == ir.DataType.FLOAT16 and largest > float(np.finfo(np.float16).max):
                raise OptionError(
                    f"{reader.name} has a weight of {largest:.3g}, more than fp16 holds (65504): "
                    "use --precisions bf16 or fp32 for this checkpoint"
                )
            return add_constant(self._graph, name, array.astype(kind.numpy()))
        cast = ir.node("Cast", [value], {"to": kind}, name=name)
        cast.outputs[0].name, cast.outputs[0].type = name, ir.TensorType(kind)
        self._graph.insert_before(reader, cast)
        return cast.outputs[0]


def _in_front_of_convolutions(graph: ir.Graph) -> set[ir.Node]:
    """The nodes that some convolution depends on."""
    needed: set[ir.Node] = set()
    for node in reversed(graph):
        if node.op_type in _CONVOLUTIONS or node in needed:
            needed.update(producer for value in node.inputs if value is not None and (producer := value.producer()))
    return needed


def _set_types(model: ir.Model) -> None:
    """Every value's type, by ONNX's own inference. Shapes stay as they are."""
    inferred = model.clone()
    ShapeInferencePass()(inferred)
    for node, twin in zip(model.graph, inferred.graph, strict=True):
        for value, typed in zip(node.outputs, twin.outputs, strict=True):
            value.type = typed.type
