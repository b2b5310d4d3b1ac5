"""StarGAN v2's losses (Choi et al. 2020, section 3.2), one function per term. The caller applies the weights.

Every term is returned in float32, or in float64 if its inputs are: a network that ran in bfloat16 loses no precision
here. Images are (N, 3, H, W), styles (N, style_dim), logits (N,).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def adversarial_loss(logits: Tensor, *, real: bool) -> Tensor:
    """Mean binary cross-entropy of the discriminator's logits, with all images labelled real or all labelled fake."""
    logits = _at_least_float32(logits)
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def r1_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Squared gradient of the discriminator at real images, summed over an image, halved, averaged over the batch.

    logits (N,) must have been computed from `images`, which require a gradient.
    Mescheder et al. 2018, eq. 9, without gamma.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return 0.5 * _at_least_float32(gradient).square().flatten(1).sum(1).mean()


def style_loss(recovered: Tensor, style: Tensor) -> Tensor:
    """Mean distance between the style recovered from a translation and the style it was made with."""
    return _mean_distance(recovered, style)


def diversity(translation: Tensor, other: Tensor) -> Tensor:
    """Mean distance between translations of one source to two styles. More is better: the term is subtracted.

    Gradients flow only through the first.
    """
    return _mean_distance(translation, other.detach())


def cycle_loss(reconstruction: Tensor, source: Tensor) -> Tensor:
    """Mean distance between a source and its translation to a style and back."""
    return _mean_distance(reconstruction, source)


def diversity_weight(step: int, *, initial: float, ds_steps: int) -> float:
    """The diversity term's weight at a step. It falls linearly from `initial` at step 0 to 0 at `ds_steps`.

    It depends on the step alone, so a resumed run continues the schedule (the original restarts it).
    """
    return initial * max(0.0, 1 - step / ds_steps)


def _mean_distance(one: Tensor, other: Tensor) -> Tensor:
    return F.l1_loss(_at_least_float32(one), _at_least_float32(other))


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
