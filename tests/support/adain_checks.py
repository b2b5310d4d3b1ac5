"""AdaIN in float64, and how far the kernels may be from it: under Triton's interpreter and on a card alike."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from starcast.train.adain import adain_leaky_relu

Tensors = tuple[Tensor, ...]
Norm = Callable[..., Tensor]

FLOAT_ERROR = 2e-6  # absolute, on outputs of order one
GRADIENT_ERROR = 1e-4  # of the largest gradient


def planes(
    shape: tuple[int, ...], *, ratio: float = 1.0, dtype: torch.dtype = torch.float32, last: bool = False,
    seed: int = 0, device: str = "cpu",
) -> Tensor:  # fmt: skip
    """Noise of standard deviation 0.7 about a mean `ratio` times as large."""
    draws = torch.Generator().manual_seed(seed)
    x = (0.7 * (torch.randn(shape, generator=draws) + ratio)).to(dtype).to(device)
    return x.contiguous(memory_format=torch.channels_last) if last else x


def style(*shape: int, seed: int = 1, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Scales within 0.5..1.5 and shifts within -1..1."""
    draws = torch.Generator().manual_seed(seed)
    return (0.5 + torch.rand(shape, generator=draws)).to(device), (2 * torch.rand(shape, generator=draws) - 1).to(
        device
    )


def in_float64(x: Tensor, scale: Tensor, shift: Tensor, eps: float = 1e-5, slope: float = 0.2) -> Tensor:
    """Huang & Belongie 2017, eq. 8, and the activation; a plane of one pixel included."""
    wide, scale, shift = x.double(), *(each.double().reshape(-1, x.shape[1], 1, 1) for each in (scale, shift))
    centred = wide - wide.mean((2, 3), keepdim=True)
    z = centred / torch.sqrt(centred.square().mean((2, 3), keepdim=True) + eps) * scale + shift
    return torch.where(z > 0, z, slope * z)


def kernel(x: Tensor, scale: Tensor, shift: Tensor, **options: float) -> Tensor:
    return adain_leaky_relu(x, scale, shift, implementation="triton", **options)


def check_forward(x: Tensor, scale: Tensor, shift: Tensor, **options: float) -> None:
    """Within 2e-6 in float32; in half types within one unit in the last place of the right value, or 2e-6 where that is
    more (near 0, where the sum of two float32 numbers has no more digits)."""
    found, right = kernel(x, scale, shift, **options), in_float64(x, scale, shift, **options)
    assert found.dtype == x.dtype
    assert found.stride() == x.stride()
    error = (found.double() - right).abs()
    allowed = torch.full_like(right, FLOAT_ERROR)
    if x.dtype != torch.float32:
        allowed = allowed.maximum(torch.finfo(x.dtype).eps * 2 ** torch.floor(torch.log2(right.abs())))
    worst = (error / allowed).max()
    assert bool(worst <= 1), f"{float(worst):.2f} times what is allowed, at most {float(error.max()):.2e}"


def check_gradients(x: Tensor, scale: Tensor, shift: Tensor, limit: float = GRADIENT_ERROR, **options: float) -> None:
    """Of x, scale and shift, each against float64 autograd, relative to its largest."""
    dy = _incoming(x, scale, shift, **options)
    found = _gradients(kernel, (x, scale, shift), dy, **options)
    right = _gradients(in_float64, (x.double(), scale.double(), shift.double()), dy.double(), **options)
    for name, one, other in zip(("x", "scale", "shift"), found, right, strict=True):
        assert one.shape == other.shape
        error = float((one.double() - other).abs().max() / other.abs().max().clamp_min(1e-30))
        assert error <= limit, f"the gradient of {name} is {error:.1e} from the right one"


def check_second_gradients(x: Tensor, scale: Tensor, shift: Tensor, limit: float = GRADIENT_ERROR) -> None:
    """Those of the squared gradient of x, as R1 and the path length have it, against float64 autograd."""
    dy = _incoming(x, scale, shift)
    found = _second(kernel, (x, scale, shift), dy)
    right = _second(in_float64, (x.double(), scale.double(), shift.double()), dy.double())
    for one, other in zip(found, right, strict=True):
        assert float((one.double() - other).abs().max() / other.abs().max()) <= limit


def _incoming(x: Tensor, scale: Tensor, shift: Tensor, **options: float) -> Tensor:
    """Noise, and none where the activation bends within rounding: there the gradient jumps."""
    draws = torch.Generator().manual_seed(7)
    noise = torch.randn(x.shape, generator=draws).to(x.device).to(x.dtype)
    return torch.where(in_float64(x, scale, shift, **{**options, "slope": 1.0}).abs() > 1e-5, noise, 0)


def _gradients(norm: Norm, given: Tensors, dy: Tensor, **options: float) -> Tensors:
    leaves = [each.detach().requires_grad_() for each in given]
    return torch.autograd.grad(norm(*leaves, **options), leaves, dy)


def _second(norm: Norm, given: Tensors, dy: Tensor) -> Tensors:
    leaves = [each.detach().requires_grad_() for each in given]
    (gradient,) = torch.autograd.grad(norm(*leaves), leaves[0], dy, create_graph=True)
    return torch.autograd.grad(gradient.square().sum(), leaves[:2])
