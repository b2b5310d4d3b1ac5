"""Instance norm with a style's scale and shift (or its own), then leaky ReLU: one function, two implementations.

The reference is a chain of PyTorch's operators. The kernels of `starcast/kernels/adain.py` read x once or twice,
write the result once, and keep only x for the backward pass.
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

# Largest difference from float64, relative to the largest output or gradient. The kernels reach a sixth of it; a real
# fault far exceeds it.
AGREEMENT = {torch.float32: 3e-6, torch.bfloat16: 2.0**-8}
# Planes that one program holds, planes that are split, and planes that one program reads twice use different kernels;
# the last entry is as in training. Only the first has a slope: there, no value is so near 0 that rounding decides
# its sign.
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
    """leaky_relu(norm(x) * scale + shift), with mean and variance over each channel of each sample.

    x (N, C, H, W) in either memory format: "triton" returns the same format, "reference" always a contiguous
    tensor. scale, which is 1 + gamma for AdaIN, and shift are (N, C) or (N, C, 1, 1), or (C,) for a norm with its own
    weights. The variance is divided by H * W (Huang & Belongie 2017, eq. 8). A slope of 1 is the norm alone.

    "triton" needs x in float16, bfloat16 or float32 on CUDA, and always computes statistics in float32. It can be
    differentiated twice: the first gradient then comes from PyTorch's operators. "reference" refuses planes of one
    pixel, as PyTorch does; "triton" returns their shift.
    """
    if implementation == "triton":
        from starcast.train.adain_triton import adain_by_kernels  # imported here because triton is optional

        return adain_by_kernels(x, scale, shift, eps, slope)
    if scale.dim() == 1:
        return F.leaky_relu(F.instance_norm(x, weight=scale, bias=shift, eps=eps), slope)
    if scale.dim() == 2:
        scale, shift = scale[:, :, None, None], shift[:, :, None, None]
    if x.dtype == torch.bfloat16:  # a style in float32 would make the planes float32
        scale, shift = scale.to(x.dtype), shift.to(x.dtype)
    return F.leaky_relu(scale * F.instance_norm(x, eps=eps) + shift, slope)


def choose_adain(
    name: str, device: torch.device, progress: Callable[[str], None] = lambda line: None
) -> Implementation:
    """Choose the implementation for a device. Raises OptionError for `triton` if it cannot run there.

    `auto` means the kernels on CUDA if triton is installed and passes a trial against the reference; if not, `progress`
    gets a line.
    """
    if name == "reference":
        return "reference"
    lacking = _lacking(device)
    if lacking is not None and name == "triton":
        raise OptionError(f"--adain triton needs {lacking}: use --adain reference")
    if lacking is not None and device.type != "cuda":
        return "reference"  # the kernels are GPU-only
    failure = _failure(device) if lacking is None else f"it needs {lacking}"
    if failure is None:
        return "triton"
    if name == "triton":
        raise OptionError(f"--adain triton does not work here ({failure}): use --adain reference")
    progress(f"The AdaIN kernel is not used ({failure}): PyTorch's operators compute the norms.")
    return "reference"


def _lacking(device: torch.device) -> str | None:
    if device.type != "cuda":
        return "an NVIDIA GPU"
    return None if find_spec("triton") is not None else "the package triton"


def _failure(device: torch.device) -> str | None:
    """What is wrong with the kernels on this GPU, as a clause; None if they agree with the reference.

    Triton compiles on the user's machine, which may lack a C compiler or have a GPU that Triton does not support.
    """
    draws = torch.Generator().manual_seed(0)
    layouts = (torch.contiguous_format, torch.channels_last)
    for (shape, kind, slope), layout in itertools.product(TRIED, layouts):
        x, dy = (torch.randn(shape, generator=draws).to(device, kind) for _ in range(2))
        scale, shift = (torch.randn(shape[:2], generator=draws).to(device) for _ in range(2))
        laid = x.contiguous(memory_format=layout)
        expected = _with_gradients(
            laid.double(), scale.double(), shift.double(), dy.double(), slope, "reference"
        )  # fmt: skip
        try:
            actual = _with_gradients(laid, scale, shift, dy, slope, "triton")
        except Exception as error:  # noqa: BLE001 - Triton, its compilers and the driver raise various classes
            return " ".join(f"{type(error).__name__}: {error}".split())[:200]
        # torch's max returns NaN if there is one; Python's may skip it
        worst = float(torch.stack([_difference(*pair) for pair in zip(actual, expected, strict=True)]).max())
        if not worst <= AGREEMENT[kind]:
            return f"it differs from them by {worst:.1e}"
    return None


def _difference(actual: Tensor, expected: Tensor) -> Tensor:
    """The largest difference, relative to the largest value if that is above 1."""
    return (actual.to(expected.dtype) - expected).abs().max() / expected.abs().max().clamp_min(1)


def _with_gradients(
    x: Tensor, scale: Tensor, shift: Tensor, dy: Tensor, slope: float, implementation: Implementation
) -> tuple[Tensor, ...]:
    """y, and the gradients of x, scale and shift."""
    x, scale, shift = (value.detach().clone().requires_grad_() for value in (x, scale, shift))
    y = adain_leaky_relu(x, scale, shift, slope=slope, implementation=implementation)
    return (y.detach(), *torch.autograd.grad(y, (x, scale, shift), dy))
