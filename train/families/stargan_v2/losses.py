"""StarGAN v2's losses (Choi et al. 2020, section 3.2), a function a term; the caller applies the weights.

Every term comes out in float32, or in float64 where its inputs are: a network that ran in bfloat16 loses no
precision here. Images are (N, 3, H, W), styles (N, style_dim), logits (N,).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def adversarial_loss(logits: Tensor, *, real: bool) -> Tensor:
    """Mean binary cross-entropy of the discriminator's logits, were all images real, or were none."""
    logits = _at_least_float32(logits)
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def r1_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Squared gradient of the discriminator at real images, summed over an image, halved, averaged over the batch.

    logits (N,) must have been computed from `images`, which require a gradient.
    Mescheder et al. 2018, eq. 9, without gamma.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return 0.5 * _at_least_float32(gradient).square().flatten(1).sum(1).mean()


def style_loss(found: Tensor, style: Tensor) -> Tensor:
    """Mean distance between the style that is found in a translation and the one it was made with."""
    return _mean_distance(found, style)


def diversity(translation: Tensor, other: Tensor) -> Tensor:
    """Mean distance between two translations of one source to two styles: the more, the better (its weight is
    subtracted). The gradient goes to the first alone."""
    return _mean_distance(translation, other.detach())


def cycle_loss(reconstruction: Tensor, source: Tensor) -> Tensor:
    """Mean distance between a source and its translation there and back."""
    return _mean_distance(reconstruction, source)


def diversity_weight(step: int, *, initial: float, ds_steps: int) -> float:
    """The diversity term's weight at a step: falls from `initial` at step 0 to 0 at `ds_steps`, in a line.

    A function of the step alone, so that a resumed run goes on where it was (the original starts again).
    """
    return initial * max(0.0, 1 - step / ds_steps)


def _mean_distance(one: Tensor, other: Tensor) -> Tensor:
    return F.l1_loss(_at_least_float32(one), _at_least_float32(other))


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
