"""Turns networks into plain ONNX graphs: traced by torch.onnx's dynamo exporter, then given readable names.

    image uint8 [batch, height, width, 3], style float32 [styles, S] -> translation uint8 [batch, height, width, 3]

`styles` is `batch`, or 1 where one style serves the whole batch. Images are RGB. A model's extra inputs follow, each
float32 [batch, channels, NAME_height, NAME_width]. Without a source:

    style float32 [batch, layers, S], noise float32 [any, 1, h, w] for each layer
    -> translation uint8 [batch, height, width, channels]

`any` is `batch`, or 1 where that noise serves the whole batch. It has no name in the graph, because engines treat
dimensions of one name as equal.
"""

from __future__ import annotations

import ast
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass, RemoveUnusedOpsetsPass
from torch import Tensor, nn

from starcast.export.families.model import Model, StyleGraph
from starcast.export.gate.reference import from_bytes, to_bytes
from starcast.export.graphs.even_sides import set_multiple
from starcast.export.graphs.facts import set_trained_lengths
from starcast.runtime.manifest import ExtraInput

OPSET = 18  # what the exporter writes without converting, and what every engine reads


class FrameNetwork(nn.Module):
    """The generator from bytes to bytes: scales to -1..1, translates, scales back, rounds half to even and clips."""

    def __init__(self, generator: nn.Module):
        super().__init__()
        self.generator = generator

    def forward(self, image: Tensor, style: Tensor, *extra: Tensor) -> Tensor:
        return to_bytes(self.generator(from_bytes(image), style, *extra))


class SourcelessNetwork(nn.Module):
    """The generator from styles and noise to bytes, scaled, rounded and clipped as in FrameNetwork."""

    def __init__(self, generator: nn.Module):
        super().__init__()
        self.generator = generator

    def forward(self, style: Tensor, *noise: Tensor) -> Tensor:
        return to_bytes(self.generator(style, *noise))


def trace_frame(model: Model) -> ir.Model:
    """A model's frame graph."""
    if model.stride is None:
        return _trace_sourceless(model)
    traced = trace_generator(model.generator, model.side, model.style_size, model.extra_inputs)
    set_multiple(traced.graph.inputs[0], model.stride)
    return traced


def _trace_sourceless(model: Model) -> ir.Model:
    """The frame graph of a model without a source, for any batch."""
    style = torch.zeros(2, *model.style_shape)
    noise = [torch.from_numpy(constant).expand(2, -1, -1, -1) for constant in model.noise.values()]
    batch = {0: torch.export.Dim("batch")}
    shapes = {"style": batch, "noise": tuple(batch for _ in noise)}
    network = SourcelessNetwork(model.generator)
    traced = _trace(network, (style, *noise), {}, shapes, "translation", "generator")
    for value, name in zip(traced.graph.inputs[1:], model.noise, strict=True):
        value.name = name
        assert value.shape is not None
        value.shape = ir.Shape([None, *list(value.shape)[1:]])  # the tracer equates it with `batch`
    return traced


def trace_generator(
    generator: nn.Module, side: int, style_size: int, extra_inputs: Sequence[ExtraInput] = ()
) -> ir.Model:
    """The frame graph, for any batch and for every height and width that is a multiple of the stride."""
    example = torch.zeros(2, side, side, 3, dtype=torch.uint8), torch.zeros(2, style_size)
    extra = [torch.zeros(2, one.channels, one.height, one.width) for one in extra_inputs]
    batch = {0: torch.export.Dim("batch")}
    shapes: dict[str, Any] = {"image": batch, "style": batch}
    if extra:
        shapes["extra"] = tuple(batch for _ in extra)
    model = _trace(FrameNetwork(generator), (*example, *extra), {}, shapes, "translation", "generator")
    image, style, *others = model.graph.inputs
    for value, one in zip(others, extra_inputs, strict=True):
        value.name = one.name
        height, width = f"{one.name}_height", f"{one.name}_width"
        value.shape = ir.Shape(["batch", one.channels, height, width])
        set_trained_lengths(model, {height: one.height, width: one.width, "height": side, "width": side})
    # The graph works at any size, because it resizes by a factor, and with shared styles, because norms and styles
    # broadcast. But the tracer fixes the size and equates `styles` with `batch`. The gate runs other sizes and shared
    # styles.
    image.shape = ir.Shape(["batch", "height", "width", 3])
    style.shape = ir.Shape(["styles", style_size])
    model.graph.outputs[0].shape = ir.Shape(["batch", "height", "width", 3])
    return model


def trace_style_graph(graph: StyleGraph) -> ir.Model:
    """A further graph of a family, such as one that makes styles, named after its file."""
    model = _trace(graph.network, (), graph.example, _any_batch(graph.example), graph.output, Path(graph.file).stem)
    if graph.any_size:  # the tracer fixes the size, but the graph resizes to lengths of its own
        model.graph.inputs[0].shape = ir.Shape(["batch", "height", "width", 3])
        _, height, width, _ = graph.example["image"].shape
        set_trained_lengths(model, {"height": height, "width": width})
    return model


def _any_batch(example: Mapping[str, Tensor]) -> dict[str, Any]:
    batch = torch.export.Dim("batch")
    return {name: {0: batch} for name in example}


def _trace(
    network: nn.Module, example: tuple[Tensor, ...], named: Mapping[str, Tensor], shapes: Mapping[str, Any],
    output: str, name: str,
) -> ir.Model:  # fmt: skip
    """Trace a network with example inputs, some of them by name; `shapes` says which of their axes have any length."""
    network.eval().requires_grad_(False)
    with warnings.catch_warnings():
        # PyTorch 2.11's exporter uses a test that PyTorch 2.11 deprecates
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        traced = torch.export.export(network, example, dict(named), dynamic_shapes=dict(shapes))
        program = torch.onnx.export(traced, dynamo=True, opset_version=OPSET, verbose=False, output_names=[output])
    assert program is not None
    return _tidy(program.model, name, prefix="generator." if hasattr(network, "generator") else "")


def _tidy(model: ir.Model, name: str, prefix: str) -> ir.Model:
    """Name everything by module path; remove the exporter's metadata and all shapes except inputs' and outputs'."""
    RemoveUnusedNodesPass()(model)
    RemoveUnusedOpsetsPass()(model)
    graph = model.graph
    graph.name = name
    _name_initializers(graph, prefix)
    _name_nodes(graph, prefix)
    interface = {*graph.inputs, *graph.outputs}
    for value in interface:
        assert value.shape is not None
        value.shape = ir.Shape(["batch", *list(value.shape)[1:]])
    for node in graph:
        node.metadata_props.clear()  # stack traces name files of the exporting machine
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
            if value not in interface:
                value.shape = value.type = None
    for value in [*graph.inputs, *graph.initializers.values()]:
        value.metadata_props.clear()
    graph.metadata_props.clear()
    return model


def _name_initializers(graph: ir.Graph, prefix: str) -> None:
    taken: Counter[str] = Counter()
    values = list(graph.initializers.values())
    graph.initializers.clear()
    for value in values:
        assert value.name is not None
        assert value.const_value is not None
        weight = value.name.endswith((".weight", ".bias"))
        value.name = _unique(value.name.removeprefix(prefix) if weight else _constant_name(value.const_value), taken)
        graph.initializers.add(value)


def _constant_name(tensor: Any) -> str:
    """A name that says what a constant holds: `1.4142135`, `ones.512`, `1x512x1x1`."""
    array = tensor.numpy()
    if array.ndim == 0:
        return str(array)
    if array.dtype.kind == "f" and array.size > 8 and np.ptp(array) == 0 and array.flat[0] in (0, 1):
        return f"{'ones' if array.flat[0] else 'zeros'}.{array.size}"
    return "x".join(f"{number:g}" for number in array.flat) if array.size <= 8 else f"constant.{array.size}"


def _name_nodes(graph: ir.Graph, prefix: str) -> None:
    """Name nodes and their outputs after their module; add the operator if a node is only part of the module."""
    taken: Counter[str] = Counter(name for name in graph.initializers if name is not None)
    taken.update(value.name for value in [*graph.inputs, *graph.outputs] if value.name is not None)
    places: dict[ir.Node, str] = {}
    for node in graph:
        weight = _weight_of(node)
        places[node] = weight.rpartition(".")[0] if weight else _scope(node, places).removeprefix(prefix).rstrip(".")
        path = places[node] if weight else f"{places[node]}.{node.op_type}".lstrip(".")
        node.name = _unique(path, taken)
        for index, value in enumerate(node.outputs):
            if not value.is_graph_output():
                value.name = node.name if len(node.outputs) == 1 else f"{node.name}.{index}"


def _weight_of(node: ir.Node) -> str | None:
    """The name of a node's weight, if the node is a whole module."""
    if node.op_type not in {"Conv", "ConvTranspose", "Gemm"} or node.inputs[1] is None:
        return None
    name = node.inputs[1].name
    return name if name is not None and name.endswith(".weight") else None


def _scope(node: ir.Node, places: dict[ir.Node, str]) -> str:
    """The path of the module that a node was traced in; a node that the exporter added gets its input's module."""
    scopes = ast.literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]"))
    if scopes:
        return next((scope for scope in reversed(scopes[:-1]) if scope), "")
    producer = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    return places[producer] if producer is not None else ""


def _unique(name: str, taken: Counter[str]) -> str:
    taken[name] += 1
    return name if taken[name] == 1 else f"{name}.{taken[name]}"
