"""What a graph costs, counted without running it: FLOP, bytes of weights, and the memory its values need at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from starcast.export.graphs.facts import at_size, one_image


@dataclass(frozen=True)
class Cost:
    """What a frame graph costs for one image of the trained size. `working` is None if it was not counted."""

    flop: int
    weights: int  # bytes
    working: int | None  # bytes of the values that are alive at once

    @classmethod
    def of(cls, model: ir.Model, side: int) -> Cost:
        """The cost for a square image of that side."""
        sizes = one_image(side)
        return cls(count_flop(model, sizes), weight_bytes(model), working_bytes(model, sizes))


def count_flop(model: ir.Model, sizes: dict[str, int]) -> int:
    """FLOP of one run of a graph: two for each multiply-add of its convolutions.

    `sizes` are those of its named dimensions, such as `{"batch": 1, "height": 256, …}`. Every tap counts, even on the
    zero border. Norms, activations and the style's matrix products are left out: together they are under 1 %. The model
    is not changed. Raises ValueError for a shape that cannot be inferred.
    """
    return sum(flop_of_nodes(model, sizes).values())


def flop_of_nodes(model: ir.Model, sizes: dict[str, int]) -> dict[str, int]:
    """FLOP of every convolution, counted as in `count_flop`, by its node's name."""
    nodes = at_size(model, sizes).graph
    return {str(node.name): _flop(node) for node in nodes if node.op_type in {"Conv", "ConvTranspose"}}


def weight_bytes(model: ir.Model) -> int:
    """Bytes of a graph's constants."""
    tensors = [value.const_value for value in model.graph.initializers.values()]
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def working_bytes(model: ir.Model, sizes: dict[str, int]) -> int:
    """The most bytes that are alive at once while a graph's nodes run in their order; weights are not counted.

    A value lives from the node that makes it to the last one that reads it. Engines come close to this: fusing saves
    memory, scratch space adds some. Raises ValueError for a shape that cannot be inferred.
    """
    graph = at_size(model, sizes).graph
    nodes = list(graph)
    last = {value: place for place, node in enumerate(nodes) for value in _computed_inputs(node)}
    last.update(dict.fromkeys(graph.outputs, len(nodes)))
    alive = {value: _bytes(value) for value in graph.inputs}
    most = 0
    for place, node in enumerate(nodes):
        alive.update((value, _bytes(value)) for value in node.outputs)
        most = max(most, sum(alive.values()))
        alive = {value: size for value, size in alive.items() if last.get(value, -1) > place}
    return most


def _flop(node: ir.Node) -> int:
    weight = _shape(node, node.inputs[1])
    # Conv: each output element is a sum over (channels in, kernel). ConvTranspose: each input element is spread out
    # over (channels out, kernel). Either way, the products per element are all of the weight's axes but the first.
    elements = _shape(node, node.outputs[0] if node.op_type == "Conv" else node.inputs[0])
    return 2 * math.prod(elements) * math.prod(weight[1:])


def _shape(node: ir.Node, value: ir.Value | None) -> tuple[int, ...]:
    shape = value.shape if value is not None else None
    if shape is None or not all(isinstance(dim, int) for dim in shape):
        raise ValueError(f"{node.name}: its shape {shape} is not known, so its FLOP cannot be counted")
    return tuple(int(dim) for dim in shape)  # type: ignore[arg-type]


def _computed_inputs(node: ir.Node) -> Iterator[ir.Value]:
    return (value for value in node.inputs if value is not None and value.const_value is None)


def _bytes(value: ir.Value) -> int:
    shape = [dim for dim in value.shape or () if isinstance(dim, int)]
    if value.shape is None or value.dtype is None or len(shape) < len(value.shape):
        raise ValueError(f"{value.name}: its shape {value.shape} is not known, so its memory cannot be counted")
    return math.ceil(math.prod(shape) * value.dtype.bitwidth / 8)
