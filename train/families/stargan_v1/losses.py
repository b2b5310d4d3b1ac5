"""StarGAN v1's losses (Choi et al. 2018, section 3), one function per term. The caller applies the weights.

Every term is returned in float32, or in float64 if its inputs are: a network that ran in bfloat16 loses no precision
here. Images are (N, 3, H, W), patches (N, 1, h, w), logits and labels (N, labels).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def realness(patches: Tensor) -> Tensor:
    """How real images look to the discriminator, on average over their patches: what it raises for real ones and
    lowers for translations (the Wasserstein distance's two terms)."""
    return _at_least_float32(patches).mean()


def gradient_penalty(judge: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    """Squared distance of the gradient's norm from 1, at points between real images and translations.

    `judge` is differentiated twice. alpha (N, 1, 1, 1) is each pair's share of the real image. The gradient is that of
    the sum over an image's patches. Gulrajani et al. 2017, eq. 3, without lambda.
    """
    between = (alpha * real + (1 - alpha) * fake).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(judge(between).sum(), between, create_graph=True)
    norms: Tensor = _at_least_float32(gradient).flatten(1).norm(dim=1)
    return (norms - 1).square().mean()


def attribute_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of independent attributes, summed over an image's and averaged over the batch."""
    entropies = F.binary_cross_entropy_with_logits(_at_least_float32(logits), labels, reduction="none")
    return entropies.sum(1).mean()


def class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of classes of which each image has one, averaged over the batch; labels are one-hot."""
    return F.cross_entropy(_at_least_float32(logits), labels.argmax(1))


def reconstruction_loss(reconstruction: Tensor, source: Tensor) -> Tensor:
    """Mean distance between a source and its translation there and back."""
    return F.l1_loss(_at_least_float32(reconstruction), _at_least_float32(source))


def rate_share(step: int, *, start: int, steps: int) -> float:
    """The share of the learning rate at a step: 1 up to `start`, then linearly to 0 over `steps`; always 1 if these
    are 0.

    It depends on the step alone, so a resumed run continues the schedule. (The original subtracts one step's share
    only once per 1,000, so that its rate hardly falls, and a resumed run starts again at the full rate.)
    """
    return 1.0 if not steps else min(1.0, max(0.0, 1 - (step - start) / steps))


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
