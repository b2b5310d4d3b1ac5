"""Infers the shape of every value of a graph for one size of its inputs, without running it."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass


def at_size(model: ir.Model, sizes: dict[str, int]) -> ir.Model:
    """A copy of a graph with the shape of every value, at the given sizes of its named dimensions, such as
    `{"batch": 1, "height": 256, …}`. Its nodes keep their order."""
    sized = model.clone()
    for value in [*sized.graph.inputs, *sized.graph.outputs]:
        assert value.shape is not None
        value.shape = ir.Shape([dim if isinstance(dim, int) else sizes[str(dim.value)] for dim in value.shape])
    # a graph that is being converted to half precision has types that do not match yet
    ShapeInferencePass(check_type=False, data_prop=True)(sized)
    return sized


def one_image(side: int) -> dict[str, int]:
    """The sizes of a frame graph's dimensions for one square image."""
    return {"batch": 1, "styles": 1, "height": side, "width": side}
