"""How much arithmetic a graph is: two operations a multiply-add of its convolutions, nothing run."""

from __future__ import annotations

import math

import onnx_ir as ir

from starcast.export.graphs.shapes import at_size


def count_flop(model: ir.Model, sizes: dict[str, int]) -> int:
    """FLOP of one run of a graph at the given sizes of its named dimensions, as `{"batch": 1, "height": 256, …}`.

    Every tap counts, those on the zero border too. Norms, activations and the style's matrix products are left out:
    together they are under 1 %. The model stays as it is. Raises ValueError for a shape that cannot be inferred.
    """
    return sum(flop_of_nodes(model, sizes).values())


def flop_of_nodes(model: ir.Model, sizes: dict[str, int]) -> dict[str, int]:
    """The same for every convolution, by its node's name."""
    nodes = at_size(model, sizes).graph
    return {str(node.name): _flop(node) for node in nodes if node.op_type in {"Conv", "ConvTranspose"}}


def _flop(node: ir.Node) -> int:
    weight = _shape(node, node.inputs[1])
    # Conv: each output element is a sum over (channels in, kernel). ConvTranspose: each input element is spread out
    # over (channels out, kernel). Either way that is all of the weight but its first axis.
    elements = _shape(node, node.outputs[0] if node.op_type == "Conv" else node.inputs[0])
    return 2 * math.prod(elements) * math.prod(weight[1:])


def _shape(node: ir.Node, value: ir.Value | None) -> tuple[int, ...]:
    shape = value.shape if value is not None else None
    if shape is None or not all(isinstance(dim, int) for dim in shape):
        raise ValueError(f"{node.name}: its shape {shape} is not known, so its FLOP cannot be counted")
    return tuple(int(dim) for dim in shape)  # type: ignore[arg-type]
