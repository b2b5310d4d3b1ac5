"""4x4 convolutions with stride 2 as 3x3 convolutions with stride 1, for engines that run those by Winograd's algorithm.

    gathered-3x3  Conv 4x4, stride 2           ->  Conv 3x3 (4 I inputs) of SpaceToDepth
    spread-3x3    ConvTranspose 4x4, stride 2  ->  DepthToSpace of Conv 3x3 (4 O outputs)

Each of the four phases uses only four of a 3x3 kernel's nine places, so a plain convolution would need 36 products
instead of 16. Winograd's algorithm, in tiles of 4x4 outputs, needs 9. For StarGAN v1's layers at 256 px, ncnn took 5 to
30 % less time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from starcast.export.graphs.even_sides import remainder_of_sides
from starcast.export.graphs.facts import kernel_side, known_numbers, numbers, producer_of, why_not_4x4_stride_2
from starcast.export.passes import kernels
from starcast.export.passes.rule import ExactRule, new_constant


class GatheredIn3x3(ExactRule):
    """A convolution that halves its map."""

    def pattern(self, op: Any, x: Any, weight: Any) -> Any:
        return op.Conv(x, weight, _allow_other_inputs=True, _outputs=["root"])

    def concerns(self, root: ir.Value, **_: ir.Value) -> bool:
        conv = producer_of(root)
        return kernel_side(conv) == 4 and list(conv.attributes.get_ints("strides", [])) == [2, 2]

    def refusal(self, root: ir.Value, x: ir.Value, **_: ir.Value) -> str | None:
        reason = why_not_4x4_stride_2(producer_of(root))
        if reason is not None:
            return reason
        return None if remainder_of_sides(x) == 0 else "its map may have an odd height or width"

    def rewrite(self, op: Any, root: ir.Value, x: ir.Value, weight: ir.Value, **_: ir.Value) -> Any:
        conv, array = producer_of(root), known_numbers(weight)
        kernel = new_constant(op, kernels.gathered_3x3(array), f"{conv.name}.weight.gathered")
        gathered = op.SpaceToDepth(x, blocksize=2, _name=f"{conv.name}.gathered")
        return op.Conv(gathered, kernel, *conv.inputs[2:], pads=[1, 1, 1, 1], _name=f"{conv.name}.3x3")


class SpreadIn3x3(ExactRule):
    """A transposed convolution that doubles its map."""

    def pattern(self, op: Any, x: Any, weight: Any) -> Any:
        return op.ConvTranspose(x, weight, _allow_other_inputs=True, _outputs=["root"])

    def concerns(self, root: ir.Value, **_: ir.Value) -> bool:
        transposed = producer_of(root)
        return kernel_side(transposed) == 4 and list(transposed.attributes.get_ints("strides", [])) == [2, 2]

    def refusal(self, root: ir.Value, **_: ir.Value) -> str | None:
        return why_not_4x4_stride_2(producer_of(root))

    def rewrite(self, op: Any, root: ir.Value, x: ir.Value, weight: ir.Value, **_: ir.Value) -> Any:
        transposed, array = producer_of(root), known_numbers(weight)
        name = transposed.name
        kernel = new_constant(op, kernels.spread_3x3(array), f"{name}.weight.spread")
        bias = numbers(transposed.inputs[2]) if len(transposed.inputs) > 2 else None
        biases = [] if bias is None else [new_constant(op, np.repeat(bias, 4), f"{name}.bias.spread")]
        spread = op.Conv(x, kernel, *biases, pads=[1, 1, 1, 1], _name=f"{name}.3x3")
        return op.DepthToSpace(spread, blocksize=2, mode="CRD", _name=f"{name}.spread")
