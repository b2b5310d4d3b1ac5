"""Convolutions next to a resampling, computed with fewer products.

    shortcut   Conv1x1 then pool -> pool then Conv1x1;  enlarge then Conv1x1 -> Conv1x1 then enlarge
    pooled     Conv3x3 then pool                  36 products per output
               -> Conv4x4 stride 2                16   `taps16`
               -> box 2x2, then Conv3x3 stride 2   9   `taps9`
    enlarged   enlarge then Conv3x3               36 products per input
               -> ConvTranspose4x4 stride 2       16   `taps16`
               -> ConvTranspose3x3 stride 2, box   9   `taps9`
               -> four Conv2x2, interleaved       16   `phases`
    spread     ConvTranspose4x4 stride 2          16
               -> four Conv2x2, interleaved       16   `phases`

Borders are exact. Which form wins depends on the engine: see forms.py. Formulas: kernels.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir

from starcast.export.graphs.facts import (
    attributes,
    convolution,
    doubling,
    halving,
    kernel_side,
    known_numbers,
    numbers,
    producer_of,
    why_not_4x4_stride_2,
)
from starcast.export.passes import kernels
from starcast.export.passes.rule import ExactRule, new_constant

_BOX = {"kernel_shape": [2, 2], "strides": [1, 1]}


class PoolFirst(ExactRule):
    """A 1x1 convolution and a mean commute: with the mean first, the convolution sees a quarter of the pixels."""

    def pattern(self, op: Any, x: Any, weight: Any) -> Any:
        inner = op.Conv(x, weight, _allow_other_inputs=True, _outputs=["inner"])
        return op.AveragePool(inner, _outputs=["root"])

    def concerns(self, inner: ir.Value, **_: ir.Value) -> bool:
        return kernel_side(producer_of(inner)) == 1

    def refusal(self, root: ir.Value, inner: ir.Value, **_: ir.Value) -> str | None:
        return convolution(producer_of(inner), side=1, pad=0) or halving(producer_of(root))

    def rewrite(self, op: Any, root: ir.Value, inner: ir.Value, x: ir.Value, **_: ir.Value) -> Any:
        pool, conv = producer_of(root), producer_of(inner)
        smaller = op.AveragePool(x, **attributes(pool), _name=f"{pool.name}.first")
        return op.Conv(smaller, *conv.inputs[1:], **attributes(conv), _name=f"{conv.name}.small")


class EnlargeLast(ExactRule):
    """A 1x1 convolution and a repetition of pixels commute: the convolution comes first, on a quarter of the pixels."""

    def pattern(self, op: Any, x: Any, weight: Any) -> Any:
        inner = op.Resize(x, _allow_other_inputs=True, _outputs=["inner"])
        return op.Conv(inner, weight, _allow_other_inputs=True, _outputs=["root"])

    def concerns(self, root: ir.Value, **_: ir.Value) -> bool:
        return kernel_side(producer_of(root)) == 1

    def refusal(self, root: ir.Value, inner: ir.Value, **_: ir.Value) -> str | None:
        return convolution(producer_of(root), side=1, pad=0) or doubling(producer_of(inner))

    def rewrite(self, op: Any, root: ir.Value, inner: ir.Value, x: ir.Value, **_: ir.Value) -> Any:
        resize, conv = producer_of(inner), producer_of(root)
        small = op.Conv(x, *conv.inputs[1:], **attributes(conv), _name=f"{conv.name}.small")
        return op.Resize(small, *resize.inputs[1:], **attributes(resize), _name=f"{resize.name}.last")


class _Pooled(ExactRule):
    """Conv3x3, then the mean of 2x2."""

    def pattern(self, op: Any, x: Any, weight: Any) -> Any:
        inner = op.Conv(x, weight, _allow_other_inputs=True, _outputs=["inner"])
        return op.AveragePool(inner, _outputs=["root"])

    def concerns(self, inner: ir.Value, **_: ir.Value) -> bool:
        return kernel_side(producer_of(inner)) == 3

    def refusal(self, root: ir.Value, inner: ir.Value, **_: ir.Value) -> str | None:
        return convolution(producer_of(inner), side=3, pad=1) or halving(producer_of(root))


class PooledIn16(_Pooled):
    """One Conv4x4 with stride 2."""

    def rewrite(self, op: Any, inner: ir.Value, x: ir.Value, weight: ir.Value, **_: ir.Value) -> Any:
        conv = producer_of(inner)
        kernel = new_constant(op, kernels.pooled_4x4(numbers(weight)), f"{conv.name}.weight.pooled")  # type: ignore[arg-type]
        return op.Conv(x, kernel, *conv.inputs[2:], strides=[2, 2], pads=[1, 1, 1, 1], _name=f"{conv.name}.pooled")


class PooledIn9(_Pooled):
    """The mean of every 2x2 square, counting the zeros outside, then a Conv3x3 with stride 2: the two commute."""

    def rewrite(self, op: Any, inner: ir.Value, x: ir.Value, weight: ir.Value, **_: ir.Value) -> Any:
        conv = producer_of(inner)
        means = op.AveragePool(x, **_BOX, pads=[1, 1, 1, 1], count_include_pad=1, _name=f"{conv.name}.box")
        return op.Conv(means, weight, *conv.inputs[2:], strides=[2, 2], _name=f"{conv.name}.pooled")


class _Enlarged(ExactRule):
    """Every pixel repeated along both axes, then Conv3x3."""

    def pattern(self, op: Any, x: Any, weight: Any) -> Any:
        inner = op.Resize(x, _allow_other_inputs=True, _outputs=["inner"])
        return op.Conv(inner, weight, _allow_other_inputs=True, _outputs=["root"])

    def concerns(self, root: ir.Value, **_: ir.Value) -> bool:
        return kernel_side(producer_of(root)) == 3

    def refusal(self, root: ir.Value, inner: ir.Value, **_: ir.Value) -> str | None:
        return convolution(producer_of(root), side=3, pad=1) or doubling(producer_of(inner))


class EnlargedIn16(_Enlarged):
    """One ConvTranspose4x4 with stride 2."""

    def rewrite(self, op: Any, root: ir.Value, x: ir.Value, weight: ir.Value, **_: ir.Value) -> Any:
        conv = producer_of(root)
        kernel = new_constant(op, kernels.enlarged_4x4(numbers(weight)), f"{conv.name}.weight.enlarged")  # type: ignore[arg-type]
        return op.ConvTranspose(
            x, kernel, *conv.inputs[2:], strides=[2, 2], pads=[1, 1, 1, 1], _name=f"{conv.name}.enlarged"
        )


class EnlargedIn9(_Enlarged):
    """ConvTranspose3x3 with stride 2, then the mean of every 2x2 square. (A mean leaves a bias as it is.)"""

    def rewrite(self, op: Any, root: ir.Value, x: ir.Value, weight: ir.Value, **_: ir.Value) -> Any:
        conv = producer_of(root)
        kernel = new_constant(op, kernels.enlarged_3x3(numbers(weight)), f"{conv.name}.weight.enlarged")  # type: ignore[arg-type]
        spread = op.ConvTranspose(x, kernel, *conv.inputs[2:], strides=[2, 2], _name=f"{conv.name}.enlarged")
        return op.AveragePool(spread, **_BOX, _name=f"{conv.name}.box")


class EnlargedInPhases(_Enlarged):
    """Four Conv2x2, one for each place in an output's 2x2 square, then interleaved: for engines without a ConvTranspose
    in the wanted precision."""

    def rewrite(self, op: Any, root: ir.Value, x: ir.Value, weight: ir.Value, **_: ir.Value) -> Any:
        return _in_phases(op, producer_of(root), x, weight, kernels.phase_2x2)


class SpreadInPhases(ExactRule):
    """A network's own ConvTranspose4x4 with stride 2, as four interleaved Conv2x2."""

    def pattern(self, op: Any, x: Any, weight: Any) -> Any:
        return op.ConvTranspose(x, weight, _allow_other_inputs=True, _outputs=["root"])

    def refusal(self, root: ir.Value, **_: ir.Value) -> str | None:
        return why_not_4x4_stride_2(producer_of(root))

    def rewrite(self, op: Any, root: ir.Value, x: ir.Value, weight: ir.Value, **_: ir.Value) -> Any:
        return _in_phases(op, producer_of(root), x, weight, kernels.transposed_phase_2x2)


def _in_phases(
    op: Any, conv: ir.Node, x: ir.Value, weight: ir.Value,
    kernel_of: Callable[[kernels.Weights, int, int], kernels.Weights],
) -> Any:  # fmt: skip
    """Four Conv2x2 with the kernels of (weight, row, column), interleaved."""
    array, parts = known_numbers(weight), []
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        phase = f"phase{row}{column}"
        kernel = new_constant(op, kernel_of(array, row, column), f"{conv.name}.weight.{phase}")
        pads = [1 - row, 1 - column, row, column]
        parts.append(op.Conv(x, kernel, *conv.inputs[2:], pads=pads, _name=f"{conv.name}.{phase}"))
    stacked = op.Concat(*parts, axis=1, _name=f"{conv.name}.phases")
    return op.DepthToSpace(stacked, blocksize=2, mode="DCR", _name=f"{conv.name}.interleaved")
