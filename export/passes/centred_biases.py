"""Centres a norm's planes on zero in advance, through the bias of a convolution in front of it.

    Norm(Conv(x, W, b) + rest)  ->  Norm(Conv(x, W, b - u) + rest),  u: the usual means of the norm's input channels

Exact: if only norms see a constant that is added to a whole channel, any bias gives the same output. But subtracting a
mean of 100 stds loses digits, both in half's x - m and in float32's mean(x x) - m m. Removing the usual mean beforehand
costs nothing and leaves hardly anything to subtract.

A shift propagates: unchanged through sums, means and repetitions, and through a 1x1 convolution by its weights. Norms
further down account for the shifts that reach them, so the means of one run over the calibration images serve for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from starcast.export.graphs.facts import add_constant, known_float64, scalar
from starcast.export.passes.dead_biases import why_no_constant, why_seen
from starcast.export.passes.instance_norms import instance_norms
from starcast.export.passes.rule import Outcome

Channels = NDArray[np.float64]  # [C]
_CONVOLUTIONS = {"Conv", "ConvTranspose"}


@dataclass(frozen=True)
class Centring(Outcome):
    """What centring changed. `shifts`: what is now added to each channel of a norm's input, by the norm's name. `left`:
    norms that were not centred."""

    shifts: Mapping[str, Channels] = field(default_factory=dict)
    left: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Free:
    """Convolutions whose biases are free, and the value that these shift: a convolution's output, or the map that
    several are interleaved into. `factor`: what a shift is multiplied by on its way to the norm."""

    nodes: tuple[ir.Node, ...]
    value: ir.Value
    factor: float = 1.0


def centre_biases(model: ir.Model, means: Mapping[str, NDArray[Any]]) -> Centring:
    """Give convolutions biases that centre the norms' inputs, in place.

    `means`, by the norm's name, are those of its input's channels [C] in the unchanged graph, biases included.
    """
    graph = model.graph
    added: dict[ir.Value, Channels] = {}
    earlier: set[ir.Value] = set()  # inputs of the norms further up
    declined: dict[str, str] = {}
    norms = [norm for norm in instance_norms(graph) if norm.name in means]
    for norm in instance_norms(graph):
        if norm not in norms:
            earlier.add(norm.x)
            continue
        mean = np.asarray(means[norm.name], np.float64)
        free = next((front for front in _in_front(norm.x) if not _reachable(graph, front, mean) & earlier), None)
        earlier.add(norm.x)
        if free is None:
            declined[norm.name] = "no convolution in front of it has a bias that only this norm sees first"
            continue
        added[free.value] = -(mean + _shifts(graph, added).get(norm.x, 0.0)) / free.factor
        for node in free.nodes:
            _add_to_bias(graph, node, added[free.value])
    reaching = _shifts(graph, added)
    nothing = {norm.name: np.zeros(len(means[norm.name])) for norm in norms}
    shifts = nothing | {norm.name: reaching[norm.x] for norm in instance_norms(graph) if norm.x in reaching}
    sentences = tuple(f"{name}: {reason}" for name, reason in declined.items())
    return Centring(len(norms) - len(declined), sentences, shifts, frozenset(declined))


def _reachable(graph: ir.Graph, free: _Free, like: Channels) -> set[ir.Value]:
    """The values that a free bias shifts."""
    return set(_shifts(graph, {free.value: np.ones_like(like)}))


def _in_front(value: ir.Value, factor: float = 1.0) -> Iterator[_Free]:
    """Convolutions that can shift a value."""
    node = value.producer()
    if node is None:
        return
    if node.op_type in _CONVOLUTIONS and why_seen(value) is None:
        yield _Free((node,), value, factor)
    elif node.op_type == "DepthToSpace" and (phases := _phases(node)) and why_seen(value) is None:
        yield _Free(phases, value, factor)
    elif node.op_type == "Add":
        for branch in node.inputs:
            if branch is not None:
                yield from _in_front(branch, factor)
    elif (first := node.inputs[0]) is not None and why_no_constant(node, first) is None and node.op_type != "Conv":
        yield from _in_front(first, factor * _factor(node))


def _phases(interleave: ir.Node) -> tuple[ir.Node, ...]:
    """The convolutions that a map is interleaved from, one for each place in a square; else empty."""
    stacked = interleave.inputs[0]
    concat = stacked.producer() if stacked is not None else None
    if concat is None or concat.op_type != "Concat" or interleave.attributes.get_string("mode", "DCR") != "DCR":
        return ()
    nodes = [value.producer() for value in concat.inputs if value is not None]
    convolutions = tuple(node for node in nodes if node is not None and node.op_type == "Conv")
    return convolutions if len(convolutions) == interleave.attributes.get_int("blocksize", 0) ** 2 else ()


def _factor(node: ir.Node) -> float:
    """The factor that a node applies to a shift it passes on, where that is the same for all channels."""
    number = scalar(node.inputs[1]) if node.op_type in {"Mul", "Div"} else None
    if number is None:
        return 1.0
    return number if node.op_type == "Mul" else 1 / number


def _shifts(graph: ir.Graph, added: Mapping[ir.Value, Channels]) -> dict[ir.Value, Channels]:
    """The total shift of every value that the additions reach before a norm."""
    shifts: dict[ir.Value, Channels] = {}
    for node in graph:
        [output, *_] = node.outputs
        parts = [_pass_on(node, value, shifts[value]) for value in node.inputs if value in shifts]
        if output in added:
            parts.append(added[output])
        if parts and node.op_type != "InstanceNormalization":
            shifts[output] = np.sum(parts, axis=0)
    return shifts


def _pass_on(node: ir.Node, value: ir.Value, shift: Channels) -> Channels:
    if node.op_type != "Conv":
        return shift * _factor(node)
    weight = known_float64(node.inputs[1])
    inputs = weight.shape[1]  # of a group
    groups = len(shift) // inputs
    each = weight.sum(axis=(2, 3)).reshape(groups, -1, inputs)
    made: Channels = np.einsum("goi,gi->go", each, shift.reshape(groups, inputs)).ravel()
    return made


def _add_to_bias(graph: ir.Graph, node: ir.Node, shift: Channels) -> None:
    """Add a shift to a convolution's bias, which may have been dropped as dead."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    changed = shift if bias is None else known_float64(bias) + shift
    node.resize_inputs(3)
    node.replace_input_with(2, add_constant(graph, f"{node.name}.bias.centred", changed.astype(np.float32)))
