"""Instance norm with a style's scale and shift (or its own), and the leaky ReLU behind: one function, two ways.

The reference is a chain of torch's operators; the kernels of `starcast/kernels/adain.py` read x once or twice and
write it once, forward, and keep only x for the way back.
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

# with float64, of the largest output or gradient: six times what the kernels reach, far below what a fault does
AGREEMENT = {torch.float32: 3e-6, torch.bfloat16: 2.0**-8}
# Planes that a program holds, that are split, and that one program reads twice: other kernels; and as in training. With
# a slope only where no value is so near to 0 that rounding decides on which side of it it is.
TRIED = (
    ((2, 16, 12, 12), torch.float32, 0.2), ((1, 2, 131, 127), torch.float32, 1.0),
    ((1, 132, 131, 127), torch.float32, 1.0), ((1, 64, 256, 256), torch.bfloat16, 1.0),
)  # fmt: skip

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
    if x.dtype == torch.bfloat16:  # a style in float32 would make the planes float32
        scale, shift = scale.to(x.dtype), shift.to(x.dtype)
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
    layouts = (torch.contiguous_format, torch.channels_last)
    for (shape, kind, slope), layout in itertools.product(TRIED, layouts):
        x, dy = (torch.randn(shape, generator=draws).to(device, kind) for _ in range(2))
        scale, shift = (torch.randn(shape[:2], generator=draws).to(device) for _ in range(2))
        laid = x.contiguous(memory_format=layout)
        wanted = _with_gradients(
            laid.double(), scale.double(), shift.double(), dy.double(), slope, "reference"
        )  # fmt: skip
        try:
            found = _with_gradients(laid, scale, shift, dy, slope, "triton")
        except Exception as error:  # noqa: BLE001 - Triton, its compilers and the driver each raise classes of their own
            return " ".join(f"{type(error).__name__}: {error}".split())[:200]
        # torch's max of what is no number is none either, which Python's may pass over
        worst = float(torch.stack([_apart(*pair) for pair in zip(found, wanted, strict=True)]).max())
        if not worst <= AGREEMENT[kind]:
            return f"it differs from them by {worst:.1e}"
    return None


def _apart(found: Tensor, wanted: Tensor) -> Tensor:
    """The largest difference, as a part of the largest value where that is more than 1."""
    return (found.to(wanted.dtype) - wanted).abs().max() / wanted.abs().max().clamp_min(1)


def _with_gradients(
    x: Tensor, scale: Tensor, shift: Tensor, dy: Tensor, slope: float, implementation: Implementation
) -> tuple[Tensor, ...]:
    """y, and the gradients of x, scale and shift."""
    x, scale, shift = (value.detach().clone().requires_grad_() for value in (x, scale, shift))
    y = adain_leaky_relu(x, scale, shift, slope=slope, implementation=implementation)
    return (y.detach(), *torch.autograd.grad(y, (x, scale, shift), dy))
