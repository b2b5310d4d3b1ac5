"""One training step of StarGAN v1: several updates of the discriminator, each on other images, then one of the
generator on the last of these.

With two sets of images, the discriminator's updates alternate between them, and the generator is updated once for each,
after the discriminator's last update there: the official order.

The results equal the original's, with less work: the last translation keeps its graph for the generator's update, and
gradients that no optimiser reads are not computed.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from starcast.train.families.stargan_v1.batches import Batch
from starcast.train.families.stargan_v1.losses import (
    attribute_loss,
    class_loss,
    gradient_penalty,
    rate_share,
    realness,
    reconstruction_loss,
)
from starcast.train.families.stargan_v1.networks import Discriminator, Networks
from starcast.train.families.stargan_v1.options import StarGANv1Optimizer, StarGANv1Options
from starcast.train.families.updates import freeze, in_bfloat16, optimize, update_average
from starcast.train.second_derivative import ImageGradients


def build_optimizers(networks: Networks, options: StarGANv1Optimizer) -> dict[str, Optimizer]:
    """An Adam optimiser for each network, by name."""
    rates = {"generator": options.learning_rate, "discriminator": options.d_learning_rate}
    betas = options.beta1, options.beta2
    return {name: Adam(module.parameters(), lr=rates[name], betas=betas) for name, module in networks.items()}


def training_step(
    networks: Networks,
    averaged: Networks,
    optimizers: Mapping[str, Optimizer],
    batch: Batch,
    step: int,
    options: StarGANv1Options,
    *,
    autocast: bool = False,
) -> dict[str, Tensor]:
    """Update networks, optimisers and average by one step. `step` counts from 0.

    With `autocast` the networks run in bfloat16, while the gradient penalty and the losses stay in float32.

    Returns each term, without its weight, by its official name (`D/loss_real` … `G/loss_cls`), the mean over the step's
    updates, detached and still on the device; and `rate`, the share of the learning rates at this step.
    """
    sets, loss = options.data.sets, options.loss
    share = rate_share(step, start=options.optimizer.decay_start, steps=options.optimizer.decay_steps)
    set_rates(optimizers, options.optimizer, share)
    parts = batch.split(options.course.d_steps * sets)
    log = _Means()
    for number, part in enumerate(parts):
        by_class = _by_class(networks, number % sets, sets)
        last = number >= len(parts) - sets
        pieces = part.split(options.course.accumulate)
        keeps_graph = last and len(pieces) == 1
        kept = None
        with optimize(optimizers, "discriminator"):
            for piece in pieces:
                with torch.set_grad_enabled(keeps_graph), in_bfloat16(piece.source, autocast):
                    translation = networks.generator(piece.source, piece.target)
                terms = _discriminator_terms(networks, piece, translation.detach(), by_class, autocast)
                _backward(terms, {"loss_cls": loss.lambda_cls, "loss_gp": loss.lambda_gp}, len(piece) / len(part))
                log.add("D", terms, len(piece), by_class if sets > 1 else None)
                kept = translation if keeps_graph else None
        if not last:
            continue
        with freeze(_discriminator(networks)), optimize(optimizers, "generator"):
            for piece in pieces:
                terms = _generator_terms(networks, piece, kept, by_class, autocast)
                _backward(terms, {"loss_cls": loss.lambda_cls, "loss_rec": loss.lambda_rec}, len(piece) / len(part))
                log.add("G", terms, len(piece), by_class if sets > 1 else None)
    update_average(averaged, networks, options.course.average_decay)
    return {**log.means(), "rate": torch.full((), share, device=batch.source.device)}


def set_rates(optimizers: Mapping[str, Optimizer], options: StarGANv1Optimizer, share: float) -> None:
    """Set the learning rates of a step, in place."""
    for name, rate in (("generator", options.learning_rate), ("discriminator", options.d_learning_rate)):
        for group in optimizers[name].param_groups:
            group["lr"] = rate * share


def compile_networks(networks: Networks, backend: str = "inductor") -> None:
    """Compile what a step calls, in place. Parameters keep their names. The gradient penalty runs uncompiled, because a
    compiled module cannot be differentiated twice."""
    for _, module in networks.items():
        module.compile(backend=backend)


class _Means:
    """The running mean of each term, weighted by the images it was computed on."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.images: dict[str, int] = {}

    def add(self, network: str, terms: Mapping[str, Tensor], images: int, by_class: bool | None) -> None:
        """Add an update's terms. `by_class` says which set it was of; None if there is only one."""
        for term, value in terms.items():
            kind = "" if by_class is None or term != "loss_cls" else "_of_classes" if by_class else "_of_attributes"
            name = f"{network}/{term}{kind}"
            weighted = images * value.detach()
            self.sums[name] = self.sums[name] + weighted if name in self.sums else weighted
            self.images[name] = self.images.get(name, 0) + images

    def means(self) -> dict[str, Tensor]:
        return {name: total / self.images[name] for name, total in self.sums.items()}


def _discriminator_terms(
    networks: Networks, part: Batch, translation: Tensor, by_class: bool, autocast: bool
) -> dict[str, Tensor]:
    discriminator = _discriminator(networks)
    with in_bfloat16(part.source, autocast):
        patches, logits = discriminator(part.source)
        of_translation = discriminator.judge(translation)
    fake = translation.to(part.source.dtype)  # no bfloat16 here, because of the second derivative
    with ImageGradients():
        penalty = gradient_penalty(discriminator.judge, part.source, fake, part.alpha)
    return {
        "loss_real": -realness(patches),
        "loss_fake": realness(of_translation),
        "loss_cls": _label_loss(discriminator, logits, part.labels, by_class),
        "loss_gp": penalty,
    }


def _generator_terms(
    networks: Networks, part: Batch, kept: Tensor | None, by_class: bool, autocast: bool
) -> dict[str, Tensor]:
    discriminator = _discriminator(networks)
    with in_bfloat16(part.source, autocast):
        translation = networks.generator(part.source, part.target) if kept is None else kept
        patches, logits = discriminator(translation)
        reconstruction = networks.generator(translation, part.labels)
    return {
        "loss_fake": -realness(patches),
        "loss_rec": reconstruction_loss(reconstruction, part.source),
        "loss_cls": _label_loss(discriminator, logits, part.target, by_class),
    }


def _label_loss(discriminator: Discriminator, logits: Tensor, labels: Tensor, by_class: bool) -> Tensor:
    """The loss of the labels that the images of a set have: attributes, or classes."""
    attributes = discriminator.attributes
    if by_class:
        return class_loss(logits[:, attributes:], labels[:, attributes : logits.shape[1]])
    return attribute_loss(logits[:, :attributes], labels[:, :attributes])


def _by_class(networks: Networks, number: int, sets: int) -> bool:
    """Whether the set of this number has classes. With two sets, the first has attributes."""
    return number == 1 if sets > 1 else not _discriminator(networks).attributes


def _backward(terms: Mapping[str, Tensor], weights: Mapping[str, float], share: float) -> None:
    total = torch.stack([weights.get(name, 1.0) * term for name, term in terms.items()]).sum()
    torch.autograd.backward(share * total)


def _discriminator(networks: Networks) -> Discriminator:
    if networks.discriminator is None:
        raise ValueError("an averaged set of networks has no discriminator and cannot be trained")
    return networks.discriminator
