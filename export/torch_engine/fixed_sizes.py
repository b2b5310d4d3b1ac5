"""Resizes to a fixed height and width, written without computing a shape.

    Resize(x, sizes = Concat(Shape(x)[:2], [height, width]))  ->  Resize(x, sizes = [height, width], axes = [2, 3])

PyTorch's exporter writes the left side, because it states all four sizes, batch and channels too. The torch engine
needs constants, and computes no shapes.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from starcast.export.graphs.facts import numbers


def fix_sizes(model: ir.Model) -> int:
    """Rewrite every such resize in place. Returns how many there were."""
    found = 0
    for node in model.graph:
        if node.op_type == "Resize" and (sizes := _height_and_width(node)) is not None:
            node.replace_input_with(3, sizes)
            node.attributes["axes"] = ir.AttrInt64s("axes", [2, 3])
            found += 1
    if found:
        RemoveUnusedNodesPass()(model)
    return found


def _height_and_width(resize: ir.Node) -> ir.Value | None:
    """The constant height and width of a resize that keeps its input's batch and channels; None for another one."""
    sizes = resize.inputs[3] if len(resize.inputs) > 3 else None
    whole = sizes.producer() if sizes is not None else None
    if whole is None or whole.op_type != "Concat" or len(whole.inputs) != 2 or "axes" in resize.attributes:
        return None
    front, back = whole.inputs
    shape, constant = front.producer() if front is not None else None, numbers(back)
    if shape is None or shape.op_type != "Shape" or shape.inputs[0] is not resize.inputs[0]:
        return None
    start, end = shape.attributes.get_int("start", 0), shape.attributes.get_int("end", None)
    return back if (start, end) == (0, 2) and constant is not None and constant.size == 2 else None
