"""Convolutions in integers: inputs as uint8 with one grid per tensor, weights as int8 with one scale per channel.

    Conv(x, W)  ->  Conv(Dequantize(Quantize(x)), Dequantize(W8))

The output is float32 again: norms, sums, the residual stream and means never see a code. OpenVINO runs such a
convolution in integers, but a transposed one writes only float32, even with bfloat16 beside it, so codes on its output
(`outputs`) quarter what has to be written, reordered and read. ONNX Runtime uses integers only where outputs are
rounded, and never for a transposed convolution, so it needs the form `phases`; codes in front of those that the form
leaves would only cost accuracy.

Weights use 129 of the 256 codes. CPUs without VNNI add pairs of products u8 * s8 in 16 bits, which saturate;
2 * 255 * 64 < 2**15 does not, so a graph gives the same image on every CPU.

TensorRT requires every zero at the code 0 and adds in 32 bits, so weights may use 255 codes; biases stay floats. It
also supports float8, with one scale per tensor. Its transposed convolutions run in half precision in any case, so codes
there would only cost accuracy and time, as they would at the image's three channels. `Rules` holds what differs by
engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from starcast.export.gate.candidates import Trial
from starcast.export.graphs.cost import flop_of_nodes
from starcast.export.graphs.facts import add_constant, known_numbers, numbers
from starcast.export.precision.ranges import E4M3, LARGEST_E4M3, UINT8, Grid, as_e4m3, best_grid, observe
from starcast.export.precisions import PRECISIONS

LARGEST = 64  # largest code of a weight
INT8 = np.dtype(np.int8)
_CUTS = np.linspace(0.6, 1, 17)  # ends to try for a channel's range, relative to its largest weight
_PHASE = re.compile(r"\.phase[01][01]$")  # four convolutions are one layer: see passes/resampling.py


@dataclass(frozen=True)
class Layer:
    """One convolution of the network, which may be four nodes of the graph. `flop` is for one image."""

    name: str
    nodes: tuple[str, ...]
    flop: int


def quantisable_layers(model: ir.Model, sizes: dict[str, int]) -> tuple[Layer, ...]:
    """The layers with constant weights, in running order; `sizes` as for `count_flop`."""
    flop = flop_of_nodes(model, sizes)
    groups: dict[str, list[str]] = {}
    for node in model.graph:
        if node.name in flop and numbers(node.inputs[1]) is not None and node.attributes.get_int("group", 1) == 1:
            groups.setdefault(_PHASE.sub("", node.name), []).append(node.name)
    return tuple(Layer(name, tuple(nodes), sum(flop[node] for node in nodes)) for name, nodes in groups.items())


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What an engine requires of codes.

    `largest`: largest code of a weight. `inputs`: type of a convolution's input codes; a signed type has its zero at 0.
    `outputs`: operators whose results are rounded as well. `biases`: whether biases become int32. `transposed`: whether
    transposed convolutions get codes. `least_channels`: fewest channels, in and out, of a convolution worth codes.
    `half`: whether scales must be float16 values. `opset`: the first opset with such codes. `unrounded_beside_pools`:
    operators of `outputs` whose results stay unrounded in a graph with pools.
    """

    largest: int = LARGEST
    inputs: np.dtype[Any] = UINT8
    outputs: tuple[str, ...] = ()
    biases: bool = True
    transposed: bool = True
    least_channels: int = 1
    half: bool = False
    opset: int = 18
    unrounded_beside_pools: tuple[str, ...] = ()


CPU_RULES = Rules()
# CPU time of a 256 px frame, as in plan.py: ONNX Runtime takes 1.5 if outputs are not rounded. OpenVINO with bf16
# beside the codes takes 0.295, and 0.288 if the outputs of transposed convolutions are rounded. With float32 and pools
# the gain is as large, but OpenVINO then also rounds the mean that follows, which costs a small network 1.3 dB.
ENGINE_RULES = {
    "openvino": Rules(outputs=("ConvTranspose",), unrounded_beside_pools=("ConvTranspose",)),
    "onnxruntime": Rules(outputs=("Conv",), transposed=False),
}


def tensorrt_rules(precision: str) -> Rules:
    """TensorRT's rules for a precision that has codes. Q/DQ of float16 and float8 came with opset 19."""
    codes = PRECISIONS[precision].codes
    assert codes is not None
    return Rules(
        largest=127, inputs=np.dtype(codes), biases=False, transposed=False, least_channels=4, half=True, opset=19
    )


@dataclass(frozen=True)
class Coded:
    """A weight or bias in codes: scales * codes. `axis` is that of the output channels; None: one scale for all."""

    codes: NDArray[Any]
    scales: NDArray[np.float32]
    axis: int | None


@dataclass(frozen=True)
class Recipe:
    """Everything needed to quantise a graph: the grids of convolutions' inputs and of their rounded outputs, by the
    value's name, and encoded weights by the node's name."""

    rules: Rules
    inputs: Mapping[str, Grid]
    outputs: Mapping[str, Grid]
    weights: Mapping[str, Coded]


def layers_for_codes(model: ir.Model, layers: Sequence[Layer], rules: Rules) -> tuple[Layer, ...]:
    """The layers that an engine runs in codes and that are worth quantising."""
    wanted = {
        node.name
        for node in _nodes(model, layers)
        if (rules.transposed or node.op_type == "Conv")
        and min(known_numbers(node.inputs[1]).shape[:2]) >= rules.least_channels
    }
    return tuple(layer for layer in layers if wanted.issuperset(layer.nodes))


def make_recipe(model: ir.Model, layers: Sequence[Layer], trials: Sequence[Trial], rules: Rules = CPU_RULES) -> Recipe:
    """Choose grids for the values that the trials give, and encode the weights."""
    nodes = _nodes(model, layers)
    # OpenVINO runs transposed convolutions in integers only if their input's zero is the code 0.
    centred = {_name(node, 0) for node in nodes if node.op_type == "ConvTranspose" and rules.inputs == UINT8}
    read = dict.fromkeys(_name(node, 0) for node in nodes)
    rounded = dict.fromkeys(str(node.outputs[0].name) for node in nodes if node.op_type in rules.outputs)
    observed = observe(model, (*read, *rounded), trials)
    grids = {name: best_grid(observed[name], INT8 if name in centred else rules.inputs) for name in read}
    return Recipe(
        rules=rules,
        inputs={name: _in_half(grid) if rules.half else grid for name, grid in grids.items()},
        outputs={name: best_grid(observed[name]) for name in rounded},
        weights={
            str(node.name): encode_weight(
                known_numbers(node.inputs[1]), 1 if node.op_type == "ConvTranspose" else 0, rules
            )
            for node in nodes
        },
    )


def encode_weight(weight: NDArray[np.float32], axis: int, rules: Rules = CPU_RULES) -> Coded:
    """Codes and scales with the least squared error, per channel, or for float8 over the whole tensor."""
    whole = rules.inputs == E4M3
    rows = np.moveaxis(weight, axis, 0).reshape(1 if whole else weight.shape[axis], -1).astype(np.float64)
    last = LARGEST_E4M3 if whole else rules.largest
    largest = np.abs(rows).max(axis=1)
    largest[largest == 0] = last  # a channel of zeros: any scale will do
    scales, least = largest / last, np.full(len(rows), np.inf)
    for cut in _CUTS:
        tried = cut * largest / last
        lost = ((rows - _to_codes(rows, tried[:, None], rules).astype(np.float64) * tried[:, None]) ** 2).sum(axis=1)
        scales = np.where(lost < least, tried, scales)
        least = np.minimum(lost, least)
    scales = _half(scales) if rules.half else scales.astype(np.float32)
    if whole:
        return Coded(_to_codes(weight.astype(np.float64), scales.astype(np.float64), rules), scales[0], None)
    shape = [-1 if dim == axis else 1 for dim in range(weight.ndim)]
    codes = _to_codes(weight.astype(np.float64), scales.astype(np.float64).reshape(shape), rules)
    return Coded(codes, scales, axis)


def quantise_layers(model: ir.Model, layers: Iterable[Layer], recipe: Recipe) -> ir.Model:
    """A copy of a graph with these layers in codes."""
    result = model.clone()
    result.graph.opset_imports[""] = max(result.graph.opset_imports[""], recipe.rules.opset)
    coded_inputs: dict[ir.Value, ir.Value] = {}
    for node in _nodes(result, layers):
        value = _require_input(node, 0)
        if value not in coded_inputs:
            codes, again = _through_codes(result.graph, value, recipe.inputs[str(value.name)])
            result.graph.insert_before(node, [codes, again])
            coded_inputs[value] = again.outputs[0]
        node.replace_input_with(0, coded_inputs[value])
        weight = recipe.weights[str(node.name)]
        bias = numbers(node.inputs[2]) if len(node.inputs) > 2 else None
        if bias is not None and recipe.rules.biases:
            scales = weight.scales * np.float32(recipe.inputs[str(value.name)].scale)
            whole = Coded(np.rint(bias / scales).astype(np.int32), scales, 0)
            _replace_by_codes(result.graph, node, 2, whole)
        _replace_by_codes(result.graph, node, 1, weight)
        output = node.outputs[0]
        if output.name in recipe.outputs:
            readers = list(output.uses())
            codes, again = _through_codes(result.graph, output, recipe.outputs[str(output.name)])
            result.graph.insert_after(node, [codes, again])
            for reader, index in readers:
                reader.replace_input_with(index, again.outputs[0])
    RemoveUnusedNodesPass()(result)
    return result


def drop_output_codes(model: ir.Model, operators: Sequence[str]) -> int:
    """Stop rounding these operators' outputs, in place. Returns how many were rounded."""
    dropped = 0
    for node in model.graph:
        rounded = _read_as(node.outputs[0], "QuantizeLinear") if node.op_type in operators else None
        again = _read_as(rounded.outputs[0], "DequantizeLinear") if rounded is not None else None
        if again is not None:
            again.outputs[0].replace_all_uses_with(node.outputs[0])
            dropped += 1
    RemoveUnusedNodesPass()(model)
    return dropped


def _read_as(value: ir.Value, operator: str) -> ir.Node | None:
    """The only reader of a value, if that has this operator."""
    readers = [node for node, _ in value.uses()]
    return readers[0] if len(readers) == 1 and readers[0].op_type == operator else None


def _nodes(model: ir.Model, layers: Iterable[Layer]) -> list[ir.Node]:
    wanted = {name for layer in layers for name in layer.nodes}
    return [node for node in model.graph if node.name in wanted]


def _through_codes(graph: ir.Graph, value: ir.Value, grid: Grid) -> tuple[ir.Node, ir.Node]:
    name = f"{value.name}.rounded"
    scale = add_constant(graph, f"{name}.scale", np.array(grid.scale, np.float32))
    zero = add_constant(graph, f"{name}.zero", np.array(grid.zero, grid.codes))
    codes = ir.node("QuantizeLinear", [value, scale, zero], name=f"{name}.codes")
    again = ir.node("DequantizeLinear", [codes.outputs[0], scale, zero], name=name)
    for node in (codes, again):
        node.outputs[0].name = node.name
    return codes, again


def _replace_by_codes(graph: ir.Graph, node: ir.Node, index: int, coded: Coded) -> None:
    name = f"{_name(node, index)}.rounded"
    parts = [
        add_constant(graph, f"{name}.codes", coded.codes),
        add_constant(graph, f"{name}.scales", coded.scales),
        add_constant(graph, f"{name}.zeros", np.zeros(coded.scales.shape, coded.codes.dtype)),
    ]
    along = {} if coded.axis is None else {"axis": coded.axis}
    again = ir.node("DequantizeLinear", parts, along, name=f"{node.name}.{index}.rounded")
    again.outputs[0].name = again.name
    graph.insert_before(node, again)
    node.replace_input_with(index, again.outputs[0])


def _to_codes(values: NDArray[np.float64], scales: NDArray[np.float64], rules: Rules) -> NDArray[Any]:
    if rules.inputs == E4M3:
        return as_e4m3(values / scales)
    return np.clip(np.rint(values / scales), -rules.largest, rules.largest).astype(np.int8)


def _in_half(grid: Grid) -> Grid:
    return replace(grid, scale=float(_half(np.array([grid.scale]))[0]))


def _half(scales: NDArray[Any]) -> NDArray[np.float32]:
    """The nearest float16 values, none of them 0."""
    least = np.finfo(np.float16).smallest_subnormal
    return np.maximum(scales.astype(np.float16), least).astype(np.float32)


def _require_input(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    assert value is not None
    return value


def _name(node: ir.Node, index: int) -> str:
    return str(_require_input(node, index).name)
