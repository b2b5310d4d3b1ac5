"""Moves the scaling of images, 0..255 <-> -1..1, into the first and the last weights.

    Conv((q / c) - d, W, b)     -> Conv(q - c d, W / c, b)
    Conv(x, W, b) * c + d       -> Conv(x, c W, c b + d)

The subtraction stays in front of the first convolution: its zero border stands for a grey of c d, not for black.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from starcast.export.graphs.facts import attributes, known_float64, numbers, producer_of, scalar
from starcast.export.passes.rule import ExactRule, new_constant


class ScaleIntoFirst(ExactRule):
    """A division and a subtraction on the image, in front of a convolution."""

    def pattern(self, op: Any, x: Any, divisor: Any, shift: Any, weight: Any) -> Any:
        inner_scaled = op.Div(x, divisor, _outputs=["inner_scaled"])
        inner_shifted = op.Sub(inner_scaled, shift, _outputs=["inner_shifted"])
        return op.Conv(inner_shifted, weight, _allow_other_inputs=True, _outputs=["root"])

    def refusal(self, divisor: ir.Value, shift: ir.Value, weight: ir.Value, **_: ir.Value) -> str | None:
        if not scalar(divisor) or scalar(shift) is None:
            return "the image is not scaled by constants"
        return None if numbers(weight) is not None else "its weight is not constant"

    def rewrite(
        self, op: Any, root: ir.Value, x: ir.Value, divisor: ir.Value, shift: ir.Value, weight: ir.Value, **_: ir.Value
    ) -> Any:
        conv = producer_of(root)
        by, less = float(scalar(divisor) or 1), float(scalar(shift) or 0)
        centred = op.Sub(x, _constant(op, np.array(by * less), f"{conv.name}.centre"), _name=f"{conv.name}.centred")
        kernel = _constant(op, known_float64(weight) / by, f"{conv.name}.weight.bytes")
        return op.Conv(centred, kernel, *conv.inputs[2:], **attributes(conv), _name=f"{conv.name}.bytes")


class ScaleIntoLast(ExactRule):
    """A multiplication and an addition after a convolution."""

    def pattern(self, op: Any, x: Any, weight: Any, factor: Any, shift: Any) -> Any:
        inner_made = op.Conv(x, weight, _allow_other_inputs=True, _outputs=["inner_made"])
        inner_scaled = op.Mul(inner_made, factor, _outputs=["inner_scaled"])
        return op.Add(inner_scaled, shift, _outputs=["root"])

    def concerns(self, factor: ir.Value, **_: ir.Value) -> bool:
        return numbers(factor) is not None  # a computed factor is a style's, not an image's

    def refusal(
        self, inner_made: ir.Value, factor: ir.Value, shift: ir.Value, weight: ir.Value, **_: ir.Value
    ) -> str | None:
        if scalar(factor) is None or scalar(shift) is None:
            return "the image is not scaled by constants"
        constants = producer_of(inner_made).inputs[1:]
        return "its weights are not constant" if any(numbers(value) is None for value in constants) else None

    def rewrite(
        self, op: Any, inner_made: ir.Value, x: ir.Value, weight: ir.Value, factor: ir.Value, shift: ir.Value,
        **_: ir.Value,
    ) -> Any:  # fmt: skip
        conv = producer_of(inner_made)
        by, more = float(scalar(factor) or 0), float(scalar(shift) or 0)
        kernel = _constant(op, known_float64(weight) * by, f"{conv.name}.weight.bytes")
        # exporters leave out a bias of zeros
        bias = known_float64(conv.inputs[2]) if len(conv.inputs) > 2 else np.zeros(len(known_float64(weight)))
        offset = _constant(op, bias * by + more, f"{conv.name}.bias.bytes")
        return op.Conv(x, kernel, offset, **attributes(conv), _name=f"{conv.name}.bytes")


def _constant(op: Any, array: Any, name: str) -> Any:
    return new_constant(op, array.astype(np.float32), name)
