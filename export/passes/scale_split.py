"""Moves what the style alone decides out of the frame graph, which then has one vector as an input.

    frame(style, noise)  ->  frame(gamma_beta, noise),  gamma_beta = work(style)

For StyleGAN2 the vector holds the scales of every convolution's inputs and outputs, and the scaled start of the
network. The work is done once per style, and an engine without matrix products can run the frame.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from starcast.export.graphs.facts import add_constant, at_size, numbers, one_image
from starcast.export.passes.style_split import GAMMA_BETA, STYLE

_STAY = {"Conv", "ConvTranspose"}  # the frame's own work, even where the style alone decides it
_FLOAT = ir.TensorType(ir.DataType.FLOAT)


def split_off_scales(model: ir.Model, side: int) -> ir.Model | None:
    """Cut all work on the style alone off a frame graph, in place, and return it as the graph style -> gamma_beta.

    Returns None if there are no matrix products in it, so that the frame may as well read the style, or if the size of
    a value depends on the image's, here `side`.
    """
    style = next((value for value in model.graph.inputs if value.name == STYLE), None)
    decided = _decided_by(style, model.graph) if style is not None else set()
    if style is None or not any(producer.op_type == "Gemm" for producer in map(_producer, decided) if producer):
        return None
    borders = _borders(model.graph, decided)
    shapes = _shapes(model, borders, side)
    if shapes is None:
        return None
    sizes = [math.prod(shape) for shape in shapes]
    work = _work(model, borders, sizes)
    _take_scales(model, style, borders, shapes)
    return work


def _producer(value: ir.Value) -> ir.Node | None:
    return value.producer()


def _decided_by(style: ir.Value, graph: ir.Graph) -> set[ir.Value]:
    """The style, and the values that follow from it alone."""
    decided = {style}
    for node in graph:
        computed = [value for value in node.inputs if value is not None and numbers(value) is None]
        if node.op_type not in _STAY and computed and decided.issuperset(computed):
            decided.update(node.outputs)
    return decided


def _borders(graph: ir.Graph, decided: Collection[ir.Value]) -> list[ir.Value]:
    """The decided values that the rest of the graph reads."""
    inner = {value.producer() for value in decided}
    return [
        value
        for node in graph
        for value in node.outputs
        if value in decided and any(reader not in inner for reader, _ in value.uses())
    ]


def _shapes(model: ir.Model, values: Sequence[ir.Value], side: int) -> list[list[int]] | None:
    """The shapes of values for one image, without the batch; None if one is not known."""
    names = {value.name for value in values}
    sized = at_size(model, one_image(side))
    known = {value.name: value.shape for node in sized.graph for value in node.outputs if value.name in names}
    shapes = []
    for value in values:
        shape = known[value.name]
        if shape is None or not shape.is_static():
            return None
        shapes.append([int(length) for length in shape][1:])  # type: ignore[arg-type]
    return shapes


def _work(model: ir.Model, borders: Sequence[ir.Value], sizes: Sequence[int]) -> ir.Model:
    """The graph style -> gamma_beta: a copy of the frame that ends at the borders, which it joins."""
    work = model.clone()
    graph = work.graph
    graph.name = "style_product"
    made = {value.name: value for node in graph for value in node.outputs}
    rows = []
    for number, (border, size) in enumerate(zip(borders, sizes, strict=True)):
        row = add_constant(graph, f"scales.row.{size}", np.array([-1, size], np.int64))
        flat = ir.node("Reshape", [made[border.name], row], name=f"scales.{number}")
        flat.outputs[0].name = f"scales.{number}"
        graph.append(flat)
        rows.append(flat.outputs[0])
    style = next(value for value in graph.inputs if value.name == STYLE)
    joined = ir.node("Concat", rows, {"axis": 1}, name="scales")
    [output] = joined.outputs
    assert style.shape is not None
    output.name, output.type, output.shape = GAMMA_BETA, _FLOAT, ir.Shape([style.shape[0], sum(sizes)])
    graph.append(joined)
    graph.outputs[:] = [output]
    RemoveUnusedNodesPass()(work)
    graph.inputs[:] = [style]
    return work


def _take_scales(
    model: ir.Model, style: ir.Value, borders: Sequence[ir.Value], shapes: Sequence[Sequence[int]]
) -> None:
    """Let the frame read the borders as parts of its input gamma_beta, in place."""
    graph = model.graph
    sizes = [math.prod(shape) for shape in shapes]
    assert style.shape is not None
    scales = ir.Value(name=GAMMA_BETA, shape=ir.Shape([style.shape[0], sum(sizes)]), type=_FLOAT)
    widths = add_constant(graph, "scales.widths", np.array(sizes, np.int64))
    split = ir.node("Split", [scales, widths], {"axis": 1}, num_outputs=len(sizes), name="scales.parts")
    graph.insert_before(graph[0], split)
    for number, (part, border, shape) in enumerate(zip(split.outputs, borders, shapes, strict=True)):
        part.name = f"scales.parts.{number}"
        wanted = add_constant(graph, f"scales.shape.{'x'.join(map(str, shape))}", np.array([-1, *shape], np.int64))
        reshape = ir.node("Reshape", [part, wanted], name=f"scales.{number}")
        reshape.outputs[0].name = f"scales.{number}"
        producer = border.producer()
        assert producer is not None
        graph.insert_after(producer, reshape)
        border.replace_all_uses_with(reshape.outputs[0])
    graph.inputs[graph.inputs.index(style)] = scales
    RemoveUnusedNodesPass()(model)
