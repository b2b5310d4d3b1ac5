"""Instance norm with a style's scale and shift (or its own), and the leaky ReLU behind: one function, two ways.

The reference is a chain of torch's operators; the kernels of `starcast/kernels/adain.py` read x twice and write it
once, forward, and keep only x for the way back.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from starcast.errors import OptionError

# of outputs and gradients of order one in float32: 25 times what the kernels are held to, far below what a fault does
AGREEMENT = 1e-4
# planes that a program holds, and planes that are split: other kernels
TRIED = ((2, 16, 12, 12), (1, 2, 131, 127))

Implementation = Literal["reference", "triton"]


def adain_leaky_relu(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    *,
    eps: float = 1e-5,
    slope: float = 0.2,
    implementation: Implementation = "reference",
) -> Tensor:
    """leaky_relu(norm(x) * scale + shift), with mean and variance of every sample's every channel by itself.

    x (N, C, H, W) in either memory format: "triton" gives the result in the same, "reference" always a contiguous one;
    scale, which is 1 + gamma for AdaIN, and shift are (N, C) or (N, C, 1, 1), or (C,) for a norm with weights of its
    own. The variance is divided by H * W (Huang & Belongie 2017, eq. 8). A slope of 1 is the norm alone.

    "triton" wants x in float16, bfloat16 or float32 on a CUDA card, takes statistics in float32 whatever x is, and may
    be differentiated twice: where that is wanted, the first gradient comes from torch's operators. "reference" refuses
    planes of one pixel, as torch does; "triton" gives their shift.
    """
    if implementation == "triton":
        from starcast.train.adain_triton import fused  # here: few have triton, and the CPU none of its cards

        return fused(x, scale, shift, eps, slope)
    if scale.dim() == 1:
        return F.leaky_relu(F.instance_norm(x, weight=scale, bias=shift, eps=eps), slope)
    if scale.dim() == 2:
        scale, shift = scale[:, :, None, None], shift[:, :, None, None]
    return F.leaky_relu(scale * F.instance_norm(x, eps=eps) + shift, slope)


def choose_adain(name: str, device: torch.device, report: Callable[[str], None] = lambda line: None) -> Implementation:
    """`auto` is the kernels on a CUDA card where triton is installed and gives the reference's numbers, which is tried;
    `report` gets a line where it does not. Raises OptionError for triton where it cannot run."""
    if name == "reference":
        return "reference"
    lacking = _lacking(device)
    if lacking is not None and name == "triton":
        raise OptionError(f"--adain triton needs {lacking}: use --adain reference")
    if lacking is not None and device.type != "cuda":
        return "reference"  # nobody expects the kernels there
    failure = _failure(device) if lacking is None else f"it needs {lacking}"
    if failure is None:
        return "triton"
    if name == "triton":
        raise OptionError(f"--adain triton does not work here ({failure}): use --adain reference")
    report(f"The AdaIN kernel is left out ({failure}): norms are computed by torch's operators.")
    return "reference"


def _lacking(device: torch.device) -> str | None:
    if device.type != "cuda":
        return "an NVIDIA card"
    return None if find_spec("triton") is not None else "the package triton"


def _failure(device: torch.device) -> str | None:
    """What is wrong with the kernels on a card, as a clause; None where they give the reference's numbers. Triton
    compiles on the user's machine, so that it lacks a C compiler on some, and knows not every card."""
    draws = torch.Generator().manual_seed(0)
    for shape, layout in itertools.product(TRIED, (torch.contiguous_format, torch.channels_last)):
        x, dy = (torch.randn(shape, generator=draws).to(device) for _ in range(2))
        scale, shift = (torch.randn(shape[:2], generator=draws).to(device) for _ in range(2))
        laid = x.contiguous(memory_format=layout).requires_grad_()
        wanted = _with_gradients(laid, scale, shift, dy, "reference")
        try:
            found = _with_gradients(laid, scale, shift, dy, "triton")
        except Exception as error:  # noqa: BLE001 - Triton, its compilers and the driver each raise classes of their own
            return " ".join(f"{type(error).__name__}: {error}".split())[:200]
        # torch's max of what is no number is none either, which Python's may pass over
        worst = float(torch.stack([(one - other).abs().max() for one, other in zip(found, wanted, strict=True)]).max())
        if not worst <= AGREEMENT:
            return f"it differs from them by {worst:.1e}"
    return None


def _with_gradients(
    x: Tensor, scale: Tensor, shift: Tensor, dy: Tensor, implementation: Implementation
) -> tuple[Tensor, ...]:
    """y, and the gradients of x, scale and shift."""
    scale, shift = scale.clone().requires_grad_(), shift.clone().requires_grad_()
    y = adain_leaky_relu(x, scale, shift, implementation=implementation)
    return (y.detach(), *torch.autograd.grad(y, (x, scale, shift), dy))
