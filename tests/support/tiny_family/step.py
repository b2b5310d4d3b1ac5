"""A training step of the tiny family."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import SGD, Optimizer

from tiny_family.batches import Batch
from tiny_family.networks import Networks
from tiny_family.options import TinyOptions


def build_optimizers(networks: Networks, options: TinyOptions) -> dict[str, Optimizer]:
    rate = options.optimizer.learning_rate
    return {"recolour": SGD(networks.recolour.parameters(), lr=rate, momentum=0.9)}


def training_step(
    networks: Networks,
    averaged: Networks,
    optimizers: Mapping[str, Optimizer],
    batch: Batch,
    step: int,
    options: TinyOptions,
    *,
    autocast: bool,
) -> dict[str, Tensor]:
    translation = networks.recolour(batch.source, batch.labels)
    colour = F.l1_loss(translation.mean((2, 3)), batch.target.mean((2, 3)))
    keep = F.l1_loss(translation, batch.source)
    optimizers["recolour"].zero_grad()
    torch.autograd.backward(colour + options.loss.keep_weight * keep)
    optimizers["recolour"].step()
    with torch.no_grad():
        for average, parameter in zip(averaged.recolour.parameters(), networks.recolour.parameters(), strict=True):
            average.lerp_(parameter, 1 - options.course.average_decay)
    return {"colour": colour.detach(), "keep": keep.detach()}
