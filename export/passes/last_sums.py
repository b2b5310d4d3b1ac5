"""Writes the last 1x1 convolution, to the image's three colours, as sums over channels.

    Conv1x1(y, W, b)  ->  Concat_c(ReduceSum_channels(y * W_c)) + b

This helps compilers that fuse sums, but not convolutions, with the nodes in front. A convolution would read y, the
largest map of all, from memory, after something has written it there. The few products (3 per element) cost nothing.
They are computed in float32 even from half: grey levels up to 255 in half would be off by 1/16.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx_ir as ir

from starcast.export.graphs.facts import add_constant, add_node, convolution, numbers, readers, replace_node
from starcast.export.passes.rule import Outcome, replace_nodes

_MOST = 4  # output channels; each is a separate sum


def sum_last_convolutions(model: ir.Model) -> Outcome:
    """Rewrite 1x1 convolutions to a few channels that no other convolution follows, in place.

    Works before or after `to_half`, whose casts after these convolutions it replaces. Pays off only if norms are
    decomposed and can be fused.
    """
    last = [node for node in model.graph if node.op_type == "Conv" and not _leads_to_another(node.outputs[0])]
    return replace_nodes(model, last, _refusal, _replace)


def _leads_to_another(value: ir.Value) -> bool:
    return any(
        node.op_type in {"Conv", "ConvTranspose"} or any(map(_leads_to_another, node.outputs))
        for node in readers(value)
    )


def _refusal(conv: ir.Node) -> str | None:
    reason = convolution(conv, side=1, pad=0)
    if reason is not None:
        return reason
    weight = numbers(conv.inputs[1])
    assert weight is not None
    return None if len(weight) <= _MOST else f"it has more than {_MOST} channels"


def _replace(graph: ir.Graph, conv: ir.Node) -> None:
    weight, bias = numbers(conv.inputs[1]), numbers(conv.inputs[2]) if len(conv.inputs) > 2 else None
    y = conv.inputs[0]
    assert weight is not None
    assert y is not None
    kind = y.dtype or ir.DataType.FLOAT
    add = partial(add_node, conv, dtype=ir.TensorType(ir.DataType.FLOAT))
    wide = y if kind == ir.DataType.FLOAT else add("Cast", y, to=ir.DataType.FLOAT)
    axis = add_constant(graph, "axes.1", np.array([1], np.int64))
    sums = []
    for channel, row in enumerate(weight.astype(np.float32)):
        factor = add_constant(graph, f"{conv.name}.weight.{channel}", row[None])
        sums.append(add("ReduceSum", add("Mul", wide, factor, of=f".{channel}"), axis, of=f".{channel}", keepdims=1))
    result = add("Concat", *sums, axis=1)
    if bias is not None:
        result = add(
            "Add", result, add_constant(graph, f"{conv.name}.bias.column", bias.astype(np.float32)[:, None, None])
        )
    output = conv.outputs[0]
    if kind != ir.DataType.FLOAT:
        for cast in [node for node in readers(output) if node.op_type == "Cast"]:
            if cast.outputs[0].dtype == ir.DataType.FLOAT and not cast.outputs[0].is_graph_output():
                cast.outputs[0].replace_all_uses_with(result)
                graph.remove(cast, safe=True)
        if readers(output) or output.is_graph_output():
            result = add("Cast", result, of=".narrow", dtype=ir.TensorType(kind), to=kind)
    replace_node(conv, result)
