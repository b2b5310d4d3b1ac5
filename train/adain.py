"""Instance norm with a style's scale and shift (or its own), and the leaky ReLU behind: one function, two ways.

The reference is a chain of torch's operators; the kernels of `starcast/kernels/adain.py` read x twice and write it
once, forward, and keep only x for the way back.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from starcast.errors import OptionError

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

    x (N, C, H, W) in either memory format, which the result has too; scale, which is 1 + gamma for AdaIN, and shift
    are (N, C) or (N, C, 1, 1), or (C,) for a norm with weights of its own. The variance is divided by H * W (Huang &
    Belongie 2017, eq. 8). A slope of 1 is the norm alone.

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


def choose_adain(name: str, device: torch.device) -> Implementation:
    """`auto` is the kernels on a CUDA card where triton is installed. Raises OptionError for triton without either."""
    lacking = _lacking(device)
    if name == "triton" and lacking is not None:
        raise OptionError(f"--adain triton needs {lacking}: use --adain reference")
    return cast("Implementation", name) if name != "auto" else "reference" if lacking else "triton"


def _lacking(device: torch.device) -> str | None:
    if device.type != "cuda":
        return "an NVIDIA card"
    return None if find_spec("triton") is not None else "the package triton"
