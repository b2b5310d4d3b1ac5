"""Merges a 2x2 mean and a 1x1 convolution into one with stride 2, for compilers that do not fuse pools.

    Conv1x1(pool(x), W, b)                          -> Conv2x2 stride 2 (x, W / 4 in each tap, b)
    Conv1x1(pool(Conv3x3(x, V, a)), W, b)           -> Conv4x4 stride 2 (x, W V widened, W a + b)

This needs more products than a 1x1 convolution of the means, but neither the means nor the large map pass through
memory. The second applies where x (the image) has so few channels that reading it in 4x4 squares needs fewer products
than reading the 3x3's output in 2x2 squares; the 3x3 stays for its other readers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from starcast.export.graphs.facts import convolution, halving, kernel_side, known_float64, producer_of
from starcast.export.passes import kernels
from starcast.export.passes.rule import ExactRule, new_constant


class PooledIn4(ExactRule):
    """Merge the mean into a 2x2 kernel."""

    def pattern(self, op: Any, x: Any, weight: Any) -> Any:
        inner = op.AveragePool(x, _outputs=["inner"])
        return op.Conv(inner, weight, _allow_other_inputs=True, _outputs=["root"])

    def concerns(self, root: ir.Value, **_: ir.Value) -> bool:
        return kernel_side(producer_of(root)) == 1

    def refusal(self, root: ir.Value, inner: ir.Value, **_: ir.Value) -> str | None:
        return convolution(producer_of(root), side=1, pad=0) or halving(producer_of(inner))

    def rewrite(self, op: Any, root: ir.Value, x: ir.Value, weight: ir.Value, **_: ir.Value) -> Any:
        conv = producer_of(root)
        taps = np.repeat(np.repeat(known_float64(weight) / 4, 2, axis=2), 2, axis=3).astype(np.float32)
        kernel = new_constant(op, taps, f"{conv.name}.weight.strided")
        return op.Conv(x, kernel, *conv.inputs[2:], strides=[2, 2], _name=f"{conv.name}.strided")


class PooledInFirst(ExactRule):
    """Merge the mean and the 1x1 convolution into a copy of the 3x3 convolution in front."""

    def pattern(self, op: Any, x: Any, before: Any, weight: Any) -> Any:
        first = op.Conv(x, before, _allow_other_inputs=True, _outputs=["first"])
        inner = op.AveragePool(first, _outputs=["inner"])
        return op.Conv(inner, weight, _allow_other_inputs=True, _outputs=["root"])

    def concerns(self, root: ir.Value, first: ir.Value, **_: ir.Value) -> bool:
        return kernel_side(producer_of(root)) == 1 and kernel_side(producer_of(first)) == 3

    def refusal(self, root: ir.Value, inner: ir.Value, first: ir.Value, **_: ir.Value) -> str | None:
        reason = (
            convolution(producer_of(root), side=1, pad=0)
            or halving(producer_of(inner))
            or convolution(producer_of(first), side=3, pad=1)
        )
        if reason is not None:
            return reason
        outputs, inputs = known_float64(producer_of(first).inputs[1]).shape[:2]
        return None if 16 * inputs < 4 * outputs else "it would need more products than the mean"

    def rewrite(
        self, op: Any, root: ir.Value, first: ir.Value, x: ir.Value, before: ir.Value, weight: ir.Value, **_: ir.Value
    ) -> Any:
        conv = producer_of(root)
        mixed = known_float64(weight)[:, :, 0, 0]
        both = np.einsum("om,mipq->oipq", mixed, known_float64(before))
        kernel = new_constant(op, kernels.pooled_4x4(both), f"{conv.name}.weight.composed")
        biases = []
        if (shifted := _bias(producer_of(first))) is not None:
            biases.append(mixed @ shifted)
        if (own := _bias(conv)) is not None:
            biases.append(own)
        summed = np.sum(biases, axis=0).astype(np.float32) if biases else None
        bias = [new_constant(op, summed, f"{conv.name}.bias.composed")] if summed is not None else []
        return op.Conv(x, kernel, *bias, strides=[2, 2], pads=[1, 1, 1, 1], _name=f"{conv.name}.composed")


def _bias(conv: ir.Node) -> NDArray[np.float64] | None:
    return known_float64(conv.inputs[2]) if len(conv.inputs) > 2 and conv.inputs[2] is not None else None
