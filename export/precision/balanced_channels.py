"""Balances the channels of a convolution whose input is scaled by a style, so that one grid of codes suits them all.

    Conv(x s, W),  s = style A^T + b    ->    Conv(x s', W e),  s' = style (A / e)^T + b / e

with a factor e for each input channel. All input channels share one grid, so channels with small values get few codes.
e moves part of the difference into the weights, which have a grid for each output, as Xiao et al. do for language
models (SmoothQuant, 2023, eq. 4). Here it costs nothing: a style scales the channels anyway. Other readers of the
scales, such as the norm of the scaled weights, square them and multiply by constants, which absorb e². The function
stays the same, except for rounding. The share that is moved minimises the expected error of both grids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from starcast.export.gate.candidates import Trial, open_session
from starcast.export.graphs.facts import add_constant, is_linear, known_float64, numbers, readers, scalar

Floats = NDArray[np.float64]
_CONVOLUTIONS = {"Conv", "ConvTranspose"}
_SHARES = np.linspace(0, 1, 9)  # of a channel's range that may move into the weights
_INPUT_CODES = 255
_LEAST = 1e-6  # of the largest channel: channels below are taken for that, so that no factor runs away


@dataclass(frozen=True)
class ScaledConvolution:
    """A convolution with constant weights, its input, the Gemm that gives its scales, and those that read the scales'
    squares."""

    node: ir.Node
    scaled: ir.Value
    scales: ir.Node
    squares: tuple[ir.Node, ...]

    @property
    def axis(self) -> int:
        """The axis of the weight's input channels."""
        return 0 if self.node.op_type == "ConvTranspose" else 1


def balance_channels(model: ir.Model, trials: Sequence[Trial], largest: int) -> int:
    """Balance the channels of every such convolution over the trials, in place, for weights whose largest code is
    `largest`. Returns how many there are."""
    places = list(scaled_convolutions(model.graph))
    if places:
        observed = _observe(model, [place.scaled for place in places], trials)
        for place, channels in zip(places, observed, strict=True):
            _level(model.graph, place, channels, largest)
        RemoveUnusedNodesPass()(model)
    return len(places)


def scaled_convolutions(graph: ir.Graph) -> Iterator[ScaledConvolution]:
    """The convolutions whose input channels have scales that nothing else reads, but for their squares."""
    for node in graph:
        if node.op_type not in _CONVOLUTIONS or node.attributes.get_int("group", 1) != 1:
            continue
        product = _maker(node.inputs[0])
        if numbers(node.inputs[1]) is None or product is None or product.op_type != "Mul":
            continue
        if readers(product.outputs[0]) != [node]:
            continue
        for factor in product.inputs:
            found = _scales_of(factor, product)
            if found is not None:
                yield ScaledConvolution(node, product.outputs[0], *found)
                break


def _scales_of(value: ir.Value | None, reader: ir.Node) -> tuple[ir.Node, tuple[ir.Node, ...]] | None:
    """The Gemm whose rows, spread over planes and perhaps multiplied by a number, are `value`; and the Gemms that read
    their squares. None if there is no such Gemm, or if something else reads them."""
    node = _maker(value)
    while node is not None and node.op_type == "Mul" and any(scalar(one) is not None for one in node.inputs):
        if readers(node.outputs[0]) != [reader]:
            return None
        reader, node = node, _maker(next((one for one in node.inputs if scalar(one) is None), None))
    if node is None or node.op_type != "Unsqueeze" or readers(node.outputs[0]) != [reader]:
        return None
    axes, gemm = numbers(node.inputs[1]), _maker(node.inputs[0])
    if axes is None or sorted(axes.tolist()) != [2, 3] or gemm is None or gemm.op_type != "Gemm":
        return None
    if not is_linear(gemm):
        return None
    squares: list[ir.Node] = []
    for other in readers(gemm.outputs[0]):
        if other is node:
            continue
        if not _is_square(other):
            return None
        squares += readers(other.outputs[0])
    reads = [one for one in squares if one.op_type == "Gemm" and is_linear(one)]
    return (gemm, tuple(reads)) if len(reads) == len(squares) else None


def _maker(value: ir.Value | None) -> ir.Node | None:
    return None if value is None else value.producer()


def _is_square(node: ir.Node) -> bool:
    return (node.op_type == "Pow" and scalar(node.inputs[1]) == 2) or (
        node.op_type == "Mul" and node.inputs[0] is node.inputs[1]
    )


@dataclass(frozen=True)
class _Channels:
    """The largest magnitude of each channel of a value, and its mean square."""

    peak: Floats
    power: Floats


def _observe(model: ir.Model, values: Sequence[ir.Value], trials: Sequence[Trial]) -> list[_Channels]:
    """The channels of values over the trials, computed in the graph: the planes themselves would fill the memory."""
    watched, wanted = model.clone(), [value.name for value in values]
    graph = watched.graph
    by_name = {value.name: value for node in graph for value in node.outputs}
    axes = add_constant(graph, "axes.0.2.3", np.array([0, 2, 3], np.int64))
    outputs = []
    for name in wanted:
        value = by_name[name]
        size = ir.node("Abs", [value], name=f"{name}.size")
        square = ir.node("Mul", [value, value], name=f"{name}.square")
        peak = ir.node("ReduceMax", [size.outputs[0], axes], {"keepdims": 0}, name=f"{name}.peak")
        power = ir.node("ReduceMean", [square.outputs[0], axes], {"keepdims": 0}, name=f"{name}.power")
        graph.extend([size, square, peak, power])
        for node in (peak, power):
            node.outputs[0].name, node.outputs[0].type = node.name, ir.TensorType(ir.DataType.FLOAT)
            outputs.append(node.outputs[0])
    graph.outputs[:] = outputs
    session = open_session(watched)
    runs = [session.run(None, trial.feeds) for trial in trials]
    parts = [np.stack(parts).astype(np.float64) for parts in zip(*runs, strict=True)]
    return [
        _Channels(peak.max(axis=0), power.mean(axis=0)) for peak, power in zip(parts[::2], parts[1::2], strict=True)
    ]


def _level(graph: ir.Graph, place: ScaledConvolution, channels: _Channels, largest: int) -> None:
    weight = known_float64(place.node.inputs[1])
    factors = _best_factors(np.moveaxis(weight, place.axis, 0), channels, largest)
    spread = factors.reshape([-1 if axis == place.axis else 1 for axis in range(4)])
    _replace(graph, place.node, 1, weight * spread)
    _replace(graph, place.scales, 1, known_float64(place.scales.inputs[1]) / factors[:, None])
    if len(place.scales.inputs) > 2 and place.scales.inputs[2] is not None:
        _replace(graph, place.scales, 2, known_float64(place.scales.inputs[2]) / factors)
    for square in place.squares:
        _replace(graph, square, 1, known_float64(square.inputs[1]) * factors**2)


def _best_factors(weight: Floats, channels: _Channels, largest: int) -> Floats:
    """A factor for each input channel of a weight [in, out, h, w]: the one with the least expected error."""
    peak, weights = _floored(channels.peak), _floored(np.abs(weight).max(axis=(1, 2, 3)))
    energy = np.square(weight).sum(axis=(1, 2, 3))
    tall, taps = np.abs(weight).max(axis=(2, 3)), weight.shape[2] * weight.shape[3]
    best, least = np.ones(len(peak)), np.inf
    for share in _SHARES:
        factors = peak**share / weights ** (1 - share) if share else np.ones(len(peak))
        # the square of each grid's step, times what its error is multiplied by on the way to the output
        inputs = (2 * (peak / factors).max() / _INPUT_CODES) ** 2 * (energy * factors**2).sum()
        steps = (tall * factors[:, None]).max(axis=0) / largest
        lost = inputs + (steps**2).sum() * taps * (channels.power / factors**2).sum()
        if lost < least:
            best, least = factors, lost
    usual = np.exp(np.log(best).mean())
    balanced: Floats = best / usual  # so that the values keep their size on the whole
    return balanced


def _floored(channels: Floats) -> Floats:
    most = float(channels.max())
    return np.maximum(channels.astype(np.float64), _LEAST * most if most else 1.0)


def _replace(graph: ir.Graph, node: ir.Node, index: int, values: Floats) -> None:
    old = node.inputs[index]
    assert old is not None
    node.replace_input_with(index, add_constant(graph, f"{old.name}.balanced", values.astype(np.float32)))
