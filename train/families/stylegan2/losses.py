"""StyleGAN2's losses, one function per term. The caller applies the weights.

Every term is returned in float32, or in float64 if its inputs are. Images are (N, C, H, W), logits (N,).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def looks_real(logits: Tensor, *, kind: str) -> Tensor:
    """How far the logits are from "real": softplus(-logits) for `vanilla` (Goodfellow et al. 2014, non-saturating),
    -logits for `wgan` (Arjovsky et al. 2017). The mean over the batch."""
    logits = at_least_float32(logits)
    return (F.softplus(-logits) if kind == "vanilla" else -logits).mean()


def looks_fake(logits: Tensor, *, kind: str) -> Tensor:
    """How far the logits are from "generated"; otherwise as `looks_real`."""
    return looks_real(-logits, kind=kind)


def r1_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Squared gradient of the discriminator at real images, summed over an image, halved, averaged over the batch.

    logits (N,) must have been computed from `images`, which require a gradient.
    Mescheder et al. 2018, eq. 9, without gamma.
    """
    squares = _gradient(logits, images).square().flatten(1).sum(1)
    return 0.5 * squares.mean()


def gradient_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Squared distance of the gradient's norm from 1, averaged over the batch.

    `images` lie between real and generated ones. Gulrajani et al. 2017, eq. 3, without lambda.
    """
    norms = torch.linalg.vector_norm(_gradient(logits, images).flatten(1), dim=1)
    penalty: Tensor = (norms - 1).square().mean()
    return penalty


def path_lengths(images: Tensor, styles: Tensor, noise: Tensor) -> Tensor:
    """How far each image (N,) moves when its styles (N, layers, L) do: the norm of the gradient of sum(image * noise).

    The norm is over L, its square averaged over the layers. `noise` is normal, of the images' shape; it is divided by
    the square root of the number of pixels here. Karras et al. 2020, section 3.2.
    """
    projected = at_least_float32(images) * noise / math.sqrt(images.shape[2] * images.shape[3])
    (gradient,) = torch.autograd.grad(projected.sum(), styles, create_graph=True)
    return at_least_float32(gradient).square().sum(2).mean(1).sqrt()


def path_penalty(lengths: Tensor, mean: Tensor) -> Tensor:
    """Squared distance of the path lengths from their running mean, averaged over the batch."""
    return (lengths - mean).square().mean()


def at_least_float32(x: Tensor) -> Tensor:
    """The same values, in float32 unless they are in float64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _gradient(logits: Tensor, images: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return at_least_float32(gradient)
