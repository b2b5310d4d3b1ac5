"""Small graphs for tests of rewrites, in ONNX's text syntax, and how far two of them are apart."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
from numpy.typing import NDArray

from starcast.export.gate.candidates import difference, open_session


def graph(nodes: str, inputs: str, outputs: str, **constants: Any) -> ir.Model:
    """A model of those nodes, each named after its output; constants are float32 but for whole numbers."""
    text = f"""<ir_version: 8, opset_import: ["": 18]> g ({inputs}) => ({outputs}) {{ {nodes} }}"""
    proto = onnx.parser.parse_model(text)
    for name, values in constants.items():
        array = np.asarray(values)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    used = {name for node in proto.graph.node for name in node.input}
    for index in reversed(range(len(proto.graph.initializer))):
        if proto.graph.initializer[index].name not in used:
            del proto.graph.initializer[index]
    for index in reversed(range(len(proto.graph.input))):
        if proto.graph.input[index].name not in used:
            del proto.graph.input[index]
    for node in proto.graph.node:
        node.name = node.output[0]
    return ir.from_proto(proto)


def operators(model: ir.Model) -> Counter[str]:
    """How many nodes of each kind."""
    return Counter(node.op_type for node in model.graph)


def run(model: ir.Model, *inputs: NDArray[Any]) -> NDArray[Any]:
    """The graph's first output in ONNX Runtime."""
    feeds = {str(value.name): array for value, array in zip(model.graph.inputs, inputs, strict=True)}
    output: NDArray[Any] = open_session(model).run(None, feeds)[0]
    return output


def gap(model: ir.Model, other: ir.Model, *inputs: NDArray[Any]) -> float:
    """max |a - b| / max(1, |b|) of what they give."""
    return difference(run(model, *inputs), run(other, *inputs))
