"""Convolutions from many channels to few, such as an image's three colours, in forms that fill an engine's SIMD lanes.

    few-phases      Conv kxk (O outputs)  ->  DepthToSpace(Conv (k+1)x(k+1), stride 2 (4 O outputs))
    few-transposed  Conv kxk (O outputs)  ->  ConvTranspose kxk, stride 1, with the kernel reversed

An engine computes 8 or 16 outputs at once. With three, it leaves most of its lanes empty, or takes the channels one by
one: the last 7x7 of a StarGAN v1 has 1.5 % of the products but took up to a fifth of the time. In four phases,
one for each place in a 2x2 square, there are twelve outputs. That is (k+1)²/k² times the products, but a third of the
time in OpenVINO and in ONNX Runtime. ncnn is faster still with a transposed convolution, which is one matrix product
from many channels to k² O: it was 18 times as fast at 128 px, and 5 times at 256.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from starcast.export.graphs.even_sides import remainder_of_sides
from starcast.export.graphs.facts import convolution, kernel_side, known_numbers, numbers, producer_of
from starcast.export.passes import kernels
from starcast.export.passes.rule import ExactRule, new_constant

MOST = 4  # outputs that count as few
LEAST = 8  # inputs that count as many


class _FewOutputs(ExactRule):
    """A convolution of stride 1 that keeps the size of its map."""

    def pattern(self, op: Any, x: Any, weight: Any) -> Any:
        return op.Conv(x, weight, _allow_other_inputs=True, _outputs=["root"])

    def concerns(self, root: ir.Value, weight: ir.Value, **_: ir.Value) -> bool:
        conv, shape = producer_of(root), weight.shape
        side = kernel_side(conv)
        if side is None or shape is None or set(conv.attributes.get_ints("strides", [])) - {1}:
            return False
        outputs, inputs = shape[:2]
        return side >= 3 and isinstance(outputs, int) and isinstance(inputs, int) and outputs <= MOST < LEAST <= inputs

    def refusal(self, root: ir.Value, **_: ir.Value) -> str | None:
        conv = producer_of(root)
        side = kernel_side(conv)
        assert side is not None
        return convolution(conv, side=side, pad=side // 2) if side % 2 else "its kernel has an even side"


class FewInPhases(_FewOutputs):
    """Four interleaved convolutions with stride 2, written as one."""

    def refusal(self, root: ir.Value, **values: ir.Value) -> str | None:
        reason = super().refusal(root=root, **values)
        if reason is not None:
            return reason
        return None if remainder_of_sides(root) == 0 else "its map may have an odd height or width"

    def rewrite(self, op: Any, root: ir.Value, x: ir.Value, weight: ir.Value, **_: ir.Value) -> Any:
        conv = producer_of(root)
        array = known_numbers(weight)
        kernel = new_constant(op, kernels.in_four_phases(array), f"{conv.name}.weight.phases")
        bias = numbers(conv.inputs[2]) if len(conv.inputs) > 2 else None
        biases = [] if bias is None else [new_constant(op, np.tile(bias, 4), f"{conv.name}.bias.phases")]
        pads = [array.shape[-1] // 2] * 4
        phases = op.Conv(x, kernel, *biases, strides=[2, 2], pads=pads, _name=f"{conv.name}.phases")
        return op.DepthToSpace(phases, blocksize=2, mode="DCR", _name=f"{conv.name}.interleaved")


class FewTransposed(_FewOutputs):
    """A transposed convolution with stride 1."""

    def rewrite(self, op: Any, root: ir.Value, x: ir.Value, weight: ir.Value, **_: ir.Value) -> Any:
        conv = producer_of(root)
        array = known_numbers(weight)
        reversed_kernel = np.ascontiguousarray(array[:, :, ::-1, ::-1].swapaxes(0, 1))
        kernel = new_constant(op, reversed_kernel, f"{conv.name}.weight.transposed")
        pads = [array.shape[-1] // 2] * 4
        return op.ConvTranspose(x, kernel, *conv.inputs[2:], pads=pads, _name=f"{conv.name}.transposed")
