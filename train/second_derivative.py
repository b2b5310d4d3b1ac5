"""Convolutions whose gradient may be differentiated once more, as R1 does, at the price of ordinary convolutions.

torch's own second derivative of a convolution (`_convolution_double_backward`) makes the weight's part of it by a
convolution whose kernel is as large as the picture: cuDNN has no fast way for that, and tries all its slow ones
(https://github.com/pytorch/pytorch/issues/54840 is about its sister). The same numbers are those of the convolution's
ordinary weight gradient, with the incoming second gradient in the picture's place:

    dx = C'(dy, w), linear in both        d<g, dx>/d dy = C(g, w)        d<g, dx>/d w = W(dy, g)

C being the convolution, C' its gradient by the picture and W that by the weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class PictureGradients(TorchFunctionMode):
    """Within it, torch.nn's convolutions are made for a gradient with `create_graph` by the pictures alone: by weights
    there is none in that first pass, and it is right in the one that follows. Of stride 1, not dilated, not in groups.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if function is F.conv2d:
            x, weight, bias, stride, padding, dilation, groups = args
            if (stride, dilation, groups) != ((1, 1), (1, 1), 1):
                raise ValueError(f"a convolution of stride {stride}, dilation {dilation}, {groups} groups is not meant")
            return _Convolution.apply(x, weight, bias, padding)
        return function(*args, **(kwargs or {}))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return F.conv2d(x, weight, bias, padding=padding)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        by_x, by_weight, by_bias, _ = ctx.needs_input_grad
        dx = _PictureGradient.apply(dy, weight, x, ctx.padding) if by_x else None
        if torch.is_grad_enabled():  # the first pass of two: nobody asks it for more, and autograd cannot say so
            return dx, None, None, None
        dweight = _gradients(dy, x, weight, ctx.padding, picture=False) if by_weight else None
        return dx, dweight, dy.sum((0, 2, 3)) if by_bias else None, None


class _PictureGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dy: Tensor, weight: Tensor, x: Tensor, padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(dy, weight)
        ctx.padding = padding
        return _gradients(dy, x, weight, padding, picture=True)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        dy, weight = ctx.saved_tensors
        return (
            F.conv2d(g, weight, padding=ctx.padding),
            _gradients(dy, g, weight, ctx.padding, picture=False),
            None,
            None,
        )


def _gradients(dy: Tensor, x: Tensor, weight: Tensor, padding: tuple[int, int], *, picture: bool) -> Tensor:
    """Of the picture, or of the weight. Only the shape of what is not needed counts."""
    found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        dy, x, weight, None, (1, 1), padding, (1, 1), False, (0, 0), 1, (picture, not picture, False)
    )
    return found[0 if picture else 1]
