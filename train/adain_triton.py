"""AdaIN and its leaky ReLU as a PyTorch operator whose body is Triton kernels, forward and backward.

torch.compile sees through it (`torch.library.triton_op`), and autocast leaves it alone. Kernels compute its gradient
too, unless that gradient will be differentiated again. StarGAN v2 never needs that: R1 differentiates the discriminator
twice, which has no norms. A path length penalty on a generator would.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import triton_op, wrap_triton

from starcast.kernels.adain import (
    apply_statistics,
    apply_sums,
    gradients,
    normalise,
    slice_statistics,
    slice_sums,
)
from starcast.kernels.tiling import Tiling, power_of_two, tiling_for

Tensors = tuple[Tensor, Tensor, Tensor]


def adain_by_kernels(x: Tensor, scale: Tensor, shift: Tensor, eps: float, slope: float) -> Tensor:
    """`adain_leaky_relu`, computed by the kernels. Raises ValueError for shapes that do not match."""
    samples, channels = x.shape[:2]
    known = ((channels,), (samples, channels), (samples, channels, 1, 1))
    if x.dim() != 4 or scale.shape != shift.shape or scale.shape not in known:
        raise ValueError(
            f"x is {tuple(x.shape)}, scale {tuple(scale.shape)}, shift {tuple(shift.shape)}: give x (N, C, H, W), and "
            "scale and shift (N, C), (N, C, 1, 1) or (C,)"
        )
    wide = torch.promote_types(x.dtype, torch.float32)
    rows = (tensor.to(wide).reshape(-1, channels).contiguous() for tensor in (scale, shift))
    y: Tensor = _forward(x, *rows, eps, slope)[0]
    return y


@triton_op("starcast::adain_leaky_relu", mutates_args=())
def _forward(x: Tensor, scale: Tensor, shift: Tensor, eps: float, slope: float) -> tuple[Tensor, Tensor]:
    """Return y and facts (N, 3, C). scale and shift are (N or 1, C), contiguous, in the type of the computation."""
    x = x.contiguous(memory_format=_format(x))
    samples, channels, pixels = _shape(x)
    tiling, blocks = _layout(x, inputs=1)
    grid = tiling.grid(samples, channels)
    y, facts = torch.empty_like(x), scale.new_empty(samples, 3, channels)
    if tiling.slices == 1:
        wrap_triton(normalise)[grid](
            x, scale, shift, scale.shape[0], channels, pixels, y, facts, EPSILON=eps, SLOPE=slope, HELD=tiling.held,
            **blocks,
        )  # fmt: skip
        return y, facts
    partials = scale.new_empty(samples, tiling.slices, 3, channels)
    wrap_triton(slice_statistics)[grid](x, channels, pixels, tiling.tiles, partials, **blocks)
    wrap_triton(apply_statistics)[grid](
        x, scale, shift, partials, scale.shape[0], channels, pixels, tiling.tiles, y, facts,
        EPSILON=eps, SLOPE=slope, SLICES=power_of_two(tiling.slices), **blocks,
    )  # fmt: skip
    return y, facts


@triton_op("starcast::adain_leaky_relu_backward", mutates_args=())
def _backward(
    dy: Tensor, x: Tensor, scale: Tensor, shift: Tensor, facts: Tensor, slope: float
) -> tuple[Tensor, Tensor]:
    """The gradient of x, and those of shift and scale for each sample: (N, 2, C)."""
    x = x.contiguous(memory_format=_format(x))
    dy = dy.contiguous(memory_format=_format(x))
    samples, channels, pixels = _shape(x)
    tiling, blocks = _layout(x, inputs=2)
    grid = tiling.grid(samples, channels)
    dx, sums = torch.empty_like(x), scale.new_empty(samples, 2, channels)
    if tiling.slices == 1:
        wrap_triton(gradients)[grid](
            dy, x, scale, shift, facts, scale.shape[0], channels, pixels, dx, sums, SLOPE=slope, HELD=tiling.held,
            **blocks,
        )  # fmt: skip
        return dx, sums
    partials = scale.new_empty(samples, tiling.slices, 2, channels)
    wrap_triton(slice_sums)[grid](
        dy, x, scale, shift, facts, scale.shape[0], channels, pixels, tiling.tiles, partials, SLOPE=slope, **blocks
    )
    wrap_triton(apply_sums)[grid](
        dy, x, scale, shift, facts, partials, scale.shape[0], channels, pixels, tiling.tiles, dx, sums,
        SLOPE=slope, SLICES=power_of_two(tiling.slices), **blocks,
    )  # fmt: skip
    return dx, sums


def differentiable_gradients(dy: Tensor, x: Tensor, scale: Tensor, shift: Tensor, eps: float, slope: float) -> Tensors:
    """The gradients of x, scale and shift, by operators that can be differentiated again.

    For each plane, with g the gradient before the activation and n the normalised x:
    dshift = sum(g), dscale = sum(g n), dx = scale / std * (g - mean(g) - n mean(g n)).
    """
    planes = (2, 3)
    wide = x.to(scale.dtype)
    residual = wide - wide.mean(planes, keepdim=True)
    residual = residual - residual.mean(planes, keepdim=True)  # removes what rounding left of the mean
    rstd = torch.rsqrt(residual.square().mean(planes, keepdim=True) + eps)
    normal = residual * rstd
    factor = scale[:, :, None, None]
    active = normal * factor + shift[:, :, None, None] > 0
    g = dy.to(scale.dtype) * torch.where(active, 1.0, slope)
    share = g - g.mean(planes, keepdim=True) - normal * (g * normal).mean(planes, keepdim=True)
    dshift, dscale = g.sum(planes), (g * normal).sum(planes)
    return (factor * rstd * share).to(x.dtype), dscale.sum_to_size(scale.shape), dshift.sum_to_size(shift.shape)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, scale, shift, ctx.eps, ctx.slope = inputs
    ctx.set_materialize_grads(False)  # facts are never differentiated: do not allocate zeros for them
    ctx.save_for_backward(x, scale, shift, output[1])


def _gradients(ctx: Any, dy: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if dy is None:
        return (None,) * 5
    x, scale, shift, facts = ctx.saved_tensors
    if torch.is_grad_enabled():  # create_graph: this gradient will be differentiated
        return *differentiable_gradients(dy, x, scale, shift, ctx.eps, ctx.slope), None, None
    dx, sums = _backward(dy, x, scale, shift, facts, ctx.slope)
    dshift, dscale = (sums[:, row].sum_to_size(scale.shape) for row in range(2))
    return dx, dscale, dshift, None, None


_forward.register_autograd(_gradients, setup_context=_remember)


def _shape(x: Tensor) -> tuple[int, int, int]:
    """Samples, channels, pixels. They decide which kernels run, so a compiled graph fixes them."""
    samples, channels, height, width = (int(size) for size in x.shape)
    return samples, channels, height * width


def _layout(x: Tensor, inputs: int) -> tuple[Tiling, dict[str, Any]]:
    samples, channels, pixels = _shape(x)
    last = _format(x) == torch.channels_last
    tiling = tiling_for(
        samples, channels, pixels, item_bytes=x.element_size(), channels_last=last, inputs=inputs
    )  # fmt: skip
    blocks = {"CHANNELS": tiling.channels, "PIXELS": tiling.pixels, "CHANNELS_LAST": last, "num_warps": tiling.warps}
    return tiling, blocks


def _format(x: Tensor) -> torch.memory_format:
    """The memory format of x; contiguous if it is neither or both."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
