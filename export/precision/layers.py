"""The layers of a frame graph that can be quantised: its convolutions, each with its FLOP."""

from __future__ import annotations

import re
from dataclasses import dataclass

import onnx_ir as ir

from starcast.export.graphs.cost import flop_of_nodes
from starcast.export.graphs.facts import numbers

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
