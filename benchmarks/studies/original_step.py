"""The training step in the original program's order and with its work, to compare ours with.

Same numbers, more work: eight whole passes of the generator, a graph for the second translation although it is then
detached, sources that still require a gradient after R1, and the discriminator's gradients in the generator's updates.
Written from a description of that program (clovaai/stargan-v2); no code is shared with it. This is the only
benchmark that names a family, because its question is about one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

from starcast.train.families.stargan_v2.batches import Batch
from starcast.train.families.stargan_v2.losses import adversarial_loss, cycle_loss, diversity, r1_penalty, style_loss
from starcast.train.families.stargan_v2.networks import Discriminator, Networks
from starcast.train.families.stargan_v2.options import StarGANv2Options
from starcast.train.families.stargan_v2.step import term_weights
from starcast.train.families.updates import update_average


def original_step(
    networks: Networks,
    averaged: Networks,
    optimizers: Mapping[str, Optimizer],
    batch: Batch,
    step: int,
    options: StarGANv2Options,
    *,
    autocast: bool = False,
) -> dict[str, Tensor]:
    """Do the work of the family's `training_step` as the original does it, in one micro-batch.

    The original applies R1 at every step. This step respects `r1_every`, so that steps without R1 can be compared too.
    """
    assert not autocast, "the original has no autocast"
    batch = dataclasses.replace(batch, source=batch.source.detach().requires_grad_())
    weights = term_weights(step, options.loss)
    log: dict[str, Tensor] = {}

    def update(prefix: str, terms: dict[str, Tensor], *names: str) -> None:
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        torch.autograd.backward(torch.stack([weights[name] * term for name, term in terms.items()]).sum())
        for name in names:
            optimizers[name].step()
        log.update({f"{prefix}_{name}": term.detach() for name, term in terms.items()})

    latents, references = (batch.latent, batch.latent2), (batch.reference, batch.reference2)
    learners = ("generator", "mapping_network", "style_encoder")
    update("D/latent", _discriminator_terms(networks, batch, latents[0], weights), "discriminator")
    update("D/ref", _discriminator_terms(networks, batch, references[0], weights), "discriminator")
    update("G/latent", _generator_terms(networks, batch, *latents), *learners)
    update("G/ref", _generator_terms(networks, batch, *references), "generator")
    update_average(averaged, networks, options.course.average_decay)
    for optimizer in optimizers.values():
        optimizer.zero_grad()
    log["G/lambda_ds"] = torch.full((), -weights["ds"], device=batch.source.device)
    return log


def _discriminator_terms(
    networks: Networks, batch: Batch, styled_by: Tensor, weights: Mapping[str, float]
) -> dict[str, Tensor]:
    discriminator = _discriminator(networks)
    logits = discriminator(batch.source, batch.source_domain)
    terms = {"real": adversarial_loss(logits, real=True)}
    if "reg" in weights:
        terms["reg"] = r1_penalty(logits, batch.source)
    with torch.no_grad():
        style = _style(networks, styled_by, batch.domain)
        fake = networks.generator(batch.source, style, networks.masks(batch.source))
    terms["fake"] = adversarial_loss(discriminator(fake, batch.domain), real=False)
    return terms


def _generator_terms(networks: Networks, batch: Batch, styled_by: Tensor, other_by: Tensor) -> dict[str, Tensor]:
    style = _style(networks, styled_by, batch.domain)
    masks = networks.masks(batch.source)
    translation = networks.generator(batch.source, style, masks)
    logits = _discriminator(networks)(translation, batch.domain)
    encoded = networks.style_encoder(translation, batch.domain)
    other = networks.generator(batch.source, _style(networks, other_by, batch.domain), masks)
    source_style = networks.style_encoder(batch.source, batch.source_domain)
    reconstruction = networks.generator(translation, source_style, networks.masks(translation))
    return {
        "adv": adversarial_loss(logits, real=True),
        "sty": style_loss(encoded, style),
        "ds": diversity(translation, other),
        "cyc": cycle_loss(reconstruction, batch.source),
    }


def _style(networks: Networks, styled_by: Tensor, domain: Tensor) -> Tensor:
    """Styles from latents (N, latent_dim) or from reference images (N, 3, H, W)."""
    maker = networks.mapping_network if styled_by.dim() == 2 else networks.style_encoder
    style: Tensor = maker(styled_by, domain)
    return style


def _discriminator(networks: Networks) -> Discriminator:
    if networks.discriminator is None:
        raise ValueError("an averaged set of networks has no discriminator and cannot be trained")
    return networks.discriminator
