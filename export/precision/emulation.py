"""Emulates half precision on a machine without it: runs a graph in float32, rounding to half after every node.

    y = Conv(x, W), all in half   ->   y = float(half(Conv(float(x), float(W))))

ONNX Runtime would run such a graph on the CPU too, but not as written: it puts casts around nodes that it has no half
kernels for, removes cast pairs so that nothing is rounded in between, and does not support bf16. The graph's own casts
stay, and are exact.

This shows what the graph's types cost: statistics in float32, and planes and weights rounded as in TensorRT. It does
not show the order in which a compiled kernel adds, what it keeps unrounded in registers, or its fast division and
square root. Those need a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from starcast.export.gate.candidates import Trial, before_rounding, open_session

HALVES = {ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
_FEW = 2  # images to rank the layers on
_CONVOLUTIONS = {"Conv", "ConvTranspose"}


def emulate(model: ir.Model, rounded: Callable[[ir.Node], bool] = lambda _: True) -> ir.Model:
    """A float32 copy of a graph in half precision, rounded after the nodes that `rounded` chooses.

    Every value's type must be known.
    """
    float32 = model.clone()
    nodes = list(float32.graph)
    keep = [rounded(node) for node in nodes]
    for value in float32.graph.initializers.values():
        if value.dtype in HALVES:
            assert value.const_value is not None
            value.const_value = ir.tensor(value.const_value.numpy().astype(np.float32), name=value.name)
            value.type = ir.TensorType(ir.DataType.FLOAT)
    for node, is_rounded in zip(nodes, keep, strict=True):
        for value in node.outputs:
            if value.dtype in HALVES:
                _round(float32.graph, node, value, through_half=is_rounded)
    return float32


def _round(graph: ir.Graph, node: ir.Node, value: ir.Value, *, through_half: bool) -> None:
    kind = value.dtype
    assert kind is not None
    if node.op_type == "Cast":
        node.attributes["to"] = ir.AttrInt64("to", ir.DataType.FLOAT)
    value.type = ir.TensorType(ir.DataType.FLOAT)
    if not through_half:
        return
    readers = list(value.uses())
    half = ir.node("Cast", [value], {"to": kind}, name=f"{value.name}.in_half")
    again = ir.node("Cast", [half.outputs[0]], {"to": ir.DataType.FLOAT}, name=f"{value.name}.again")
    for cast, its_kind in ((half, kind), (again, ir.DataType.FLOAT)):
        cast.outputs[0].name, cast.outputs[0].type = cast.name, ir.TensorType(its_kind)
    graph.insert_after(node, [half, again])
    for reader, index in readers:
        reader.replace_input_with(index, again.outputs[0])


def layers_that_lose(model: ir.Model, trials: Sequence[Trial], count: int = 3) -> tuple[str, ...]:
    """The convolutions after which rounding to half costs most, worst first.

    Each is rounded alone, with what follows it up to the next convolution, and compared with the unrounded graph.
    """
    behind = _convolution_before(model.graph)

    def translated(rounded: Callable[[ir.Node], bool]) -> NDArray[np.float64]:
        session = open_session(before_rounding(emulate(model, rounded)))
        return np.stack([session.run(None, trial.feeds)[0][0].astype(np.float64) for trial in trials[:_FEW]])

    exact = translated(lambda _: False)

    def lost(layer: str) -> float:
        error = float(np.mean((translated(lambda node: behind[node.name] == layer) - exact) ** 2))
        return error if np.isfinite(error) else np.inf

    losses = {layer: lost(layer) for layer in dict.fromkeys(behind.values()) if layer is not None}
    return tuple(sorted(losses, key=losses.__getitem__, reverse=True)[:count])


def _convolution_before(nodes: Iterable[ir.Node]) -> dict[str | None, str | None]:
    """The last convolution at or before each node; both by name."""
    last: str | None = None
    last_before: dict[str | None, str | None] = {}
    for node in nodes:
        if node.op_type in _CONVOLUTIONS:
            last = node.name
        last_before[node.name] = last
    return last_before
