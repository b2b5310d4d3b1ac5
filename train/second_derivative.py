"""Convolutions whose gradient can be differentiated again, as penalties of it require, at the cost of ordinary ones.

PyTorch's own second derivative of a convolution (`_convolution_double_backward`) computes the weight's part with a
kernel as large as the image. cuDNN has no fast algorithm for that and tries all its slow ones (see the similar
https://github.com/pytorch/pytorch/issues/54840). The ordinary weight gradient gives the same numbers, with the incoming
second gradient in place of the image:

    dx = C'(dy, w), linear in both        d<g, dx>/d dy = C(g, w)        d<g, dx>/d w = W(dy, g)

C is the convolution, C' its gradient with respect to the image, and W the one with respect to the weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Pair = tuple[int, int]


class ImageGradients(TorchFunctionMode):
    """A mode in which convolutions under `create_graph` compute gradients with respect to images only.

    The first backward pass computes no gradients of weights; the second computes all of them. Convolutions may have a
    stride, but no dilation and no groups. Those whose weights are constants, such as filters, are left to PyTorch.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if function is F.conv2d:
            x, weight, bias, stride, padding, dilation, groups = _all_arguments(*args, **(kwargs or {}))
            if not weight.requires_grad:
                return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
            if (dilation, groups) != ((1, 1), 1):
                raise ValueError(f"a convolution of dilation {dilation}, {groups} groups is not supported")
            return _Convolution.apply(x, weight, bias, stride, padding)
        return function(*args, **(kwargs or {}))


def _all_arguments(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int | Pair = 1, padding: int | Pair = 0,
    dilation: int | Pair = 1, groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor | None, Pair, Pair, Pair, int]:  # fmt: skip
    """The arguments of F.conv2d, under its names and with its defaults, as pairs."""
    sides = ((side, side) if isinstance(side, int) else (side[0], side[1]) for side in (stride, padding, dilation))
    return (input, weight, bias, *sides, groups)  # type: ignore[return-value]


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.sides = stride, padding
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        by_x, by_weight, by_bias, _, _ = ctx.needs_input_grad
        dx = _ImageGradient.apply(dy, weight, x, *ctx.sides) if by_x else None
        if torch.is_grad_enabled():  # the first pass of two, which needs only dx
            return dx, None, None, None, None
        dweight = _gradients(dy, x, weight, *ctx.sides, image=False) if by_weight else None
        return dx, dweight, dy.sum((0, 2, 3)) if by_bias else None, None, None


class _ImageGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dy: Tensor, weight: Tensor, x: Tensor, stride: Pair, padding: Pair) -> Tensor:
        ctx.save_for_backward(dy, weight)
        ctx.sides = stride, padding
        return _gradients(dy, x, weight, stride, padding, image=True)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        dy, weight = ctx.saved_tensors
        return (
            F.conv2d(g, weight, None, *ctx.sides),
            _gradients(dy, g, weight, *ctx.sides, image=False),
            None,
            None,
            None,
        )


def _gradients(dy: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, *, image: bool) -> Tensor:
    """The gradient of the image `x` or of `weight`. Of the tensor that it belongs to, only the shape matters."""
    gradients: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        dy, x, weight, None, stride, padding, (1, 1), False, (0, 0), 1, (image, not image, False)
    )
    return gradients[0 if image else 1]
