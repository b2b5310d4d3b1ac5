"""One training step of StarGAN v2: four updates in the official order, then the average.

    1  discriminator                                     styles from latents
    2  discriminator                                     styles from references
    3  generator, mapping network and style encoder      styles from latents
    4  generator alone                                   styles from references

The results equal the original's, with less work: values that no update changes are computed once, and gradients that no
optimiser reads are not computed:

- Update 1's translation keeps its graph for update 3, since only the discriminator moves in between. The source's
  features serve updates 1, 2 and 3. (With `accumulate` above 1 they are computed again, to save memory.)
- The diversity term's second translation has no graph and starts from the same features.
- A face model's masks of the source serve all updates. The cycle also needs masks of the translation. No mask has a
  gradient.
- The discriminator gets no gradient in updates 3 and 4, the mapping network and style encoder get none in update 4, and
  the source gets none except for R1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from starcast.train.families.stargan_v2.batches import Batch
from starcast.train.families.stargan_v2.losses import (
    adversarial_loss,
    cycle_loss,
    diversity,
    diversity_weight,
    r1_penalty,
    style_loss,
)
from starcast.train.families.stargan_v2.networks import TRAINED, Discriminator, Features, Networks
from starcast.train.families.stargan_v2.options import StarGANv2Loss, StarGANv2Optimizer
from starcast.train.families.updates import freeze, in_bfloat16, optimize, update_average
from starcast.train.second_derivative import ImageGradients


def term_weights(step: int, loss: StarGANv2Loss) -> dict[str, float]:
    """The weight of each term in an update's total, by the term's short name; no `reg` if R1 is not due."""
    weights = {
        "real": 1.0,
        "fake": 1.0,
        "adv": 1.0,
        "sty": loss.lambda_sty,
        "ds": -diversity_weight(step, initial=loss.lambda_ds, ds_steps=loss.ds_steps),
        "cyc": loss.lambda_cyc,
    }
    if loss.lambda_reg and step % loss.r1_every == 0:
        weights["reg"] = loss.lambda_reg * loss.r1_every
    return weights


def build_optimizers(networks: Networks, options: StarGANv2Optimizer) -> dict[str, Optimizer]:
    """An Adam optimiser for each network, by name. The weight decay is L2: it is added to the gradient."""
    return {
        name: Adam(
            module.parameters(),
            lr=options.mapping_learning_rate if name == "mapping_network" else options.learning_rate,
            betas=(options.beta1, options.beta2),
            weight_decay=options.weight_decay,
        )
        for name, module in networks.items()
        if name in TRAINED
    }


def training_step(
    networks: Networks,
    averaged: Networks,
    optimizers: Mapping[str, Optimizer],
    batch: Batch,
    step: int,
    loss: StarGANv2Loss,
    *,
    average_decay: float,
    accumulate: int = 1,
    autocast: bool = False,
) -> dict[str, Tensor]:
    """Update networks, optimisers and average by one step. `step` counts from 0.

    `accumulate` is the number of micro-batches that the batch is split into. With `autocast` the networks run in
    bfloat16, while R1 and the losses stay in float32.

    Returns each term, without its weight, by its official name (`D/latent_real` … `G/ref_cyc`, `G/lambda_ds`), detached
    and still on the device. `D/latent_reg` and `D/ref_reg` are missing if R1 is not due.
    """
    weights = term_weights(step, loss)
    parts = [_Part(**vars(part), masks=networks.masks(part.source)) for part in batch.split(accumulate)]
    log: dict[str, Tensor] = {}

    def backward(update: str, part: _Part, terms: dict[str, Tensor]) -> None:
        share = len(part) / len(batch)
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        torch.autograd.backward(share * total)
        for name, term in terms.items():
            key = f"{update}_{name}"
            log[key] = share * term.detach() + log[key] if key in log else share * term.detach()

    translation = None
    with optimize(optimizers, "discriminator"):
        for part in parts:
            with torch.set_grad_enabled(len(parts) == 1):
                translation = _from_latent(networks, part, autocast)
            image = translation.image.detach()
            backward("D/latent", part, _discriminator_terms(networks, part, image, weights, autocast))
    kept = translation if len(parts) == 1 else None
    del translation

    with optimize(optimizers, "discriminator"):
        for part in parts:
            image = _from_reference(networks, part, kept, autocast)
            backward("D/ref", part, _discriminator_terms(networks, part, image, weights, autocast))

    with freeze(networks.discriminator), optimize(optimizers, "generator", "mapping_network", "style_encoder"):
        for part in parts:
            backward("G/latent", part, _latent_terms(networks, part, kept, autocast))
    del kept

    with (
        freeze(networks.discriminator, networks.mapping_network, networks.style_encoder),
        optimize(optimizers, "generator"),
    ):
        for part in parts:
            backward("G/ref", part, _reference_terms(networks, part, autocast))

    update_average(averaged, networks, average_decay)
    log["G/lambda_ds"] = torch.full((), -weights["ds"], device=batch.source.device)
    return log


def compile_networks(networks: Networks, backend: str = "inductor") -> None:
    """Compile what a step calls, in place. Parameters keep their names. R1 runs uncompiled, because a compiled module
    cannot be differentiated twice."""
    generator = networks.generator
    for name in ("encode_source", "decode_features"):
        setattr(generator, name, torch.compile(getattr(generator, name), backend=backend))
    for name, module in networks.items():
        if name != "generator":
            module.compile(backend=backend)


@dataclass(frozen=True)
class _Part(Batch):
    """A micro-batch, and the masks of its sources; None unless it is a face model."""

    masks: Tensor | None


@dataclass(frozen=True)
class _Translation:
    """A source's features, a style, and the image decoded from both, with or without a graph."""

    features: Features
    style: Tensor
    image: Tensor


def _from_latent(networks: Networks, part: _Part, autocast: bool) -> _Translation:
    with in_bfloat16(part.source, autocast):
        features = networks.generator.encode_source(part.source)
        style = networks.mapping_network(part.latent, part.domain)
        return _Translation(features, style, networks.generator.decode_features(features, style, part.masks))


@torch.no_grad()
def _from_reference(networks: Networks, part: _Part, kept: _Translation | None, autocast: bool) -> Tensor:
    with in_bfloat16(part.source, autocast):
        features = kept.features if kept else networks.generator.encode_source(part.source)
        style = networks.style_encoder(part.reference, part.domain)
        return networks.generator.decode_features(features, style, part.masks)


def _discriminator_terms(
    networks: Networks, part: _Part, translation: Tensor, weights: Mapping[str, float], autocast: bool
) -> dict[str, Tensor]:
    discriminator = _discriminator(networks)
    terms = {}
    if "reg" in weights:
        source = part.source.detach().requires_grad_()
        # .forward bypasses torch.compile, and nothing here runs in bfloat16: the second derivative needs both.
        with ImageGradients():
            logits = discriminator.forward(source, part.source_domain)
        terms["reg"] = r1_penalty(logits, source)
    else:
        with in_bfloat16(part.source, autocast):
            logits = discriminator(part.source, part.source_domain)
    terms["real"] = adversarial_loss(logits, real=True)
    with in_bfloat16(part.source, autocast):
        logits = discriminator(translation, part.domain)
    terms["fake"] = adversarial_loss(logits, real=False)
    return terms


def _latent_terms(networks: Networks, part: _Part, kept: _Translation | None, autocast: bool) -> dict[str, Tensor]:
    translation = kept or _from_latent(networks, part, autocast)
    with in_bfloat16(part.source, autocast), torch.no_grad():
        other_style = networks.mapping_network(part.latent2, part.domain)
    with in_bfloat16(part.source, autocast):
        source_style = networks.style_encoder(part.source, part.source_domain)
    return _generator_terms(networks, part, translation, other_style, source_style, autocast)


def _reference_terms(networks: Networks, part: _Part, autocast: bool) -> dict[str, Tensor]:
    with in_bfloat16(part.source, autocast):
        with torch.no_grad():
            style = networks.style_encoder(part.reference, part.domain)
            other_style = networks.style_encoder(part.reference2, part.domain)
            source_style = networks.style_encoder(part.source, part.source_domain)
        features = networks.generator.encode_source(part.source)
        translation = _Translation(features, style, networks.generator.decode_features(features, style, part.masks))
    return _generator_terms(networks, part, translation, other_style, source_style, autocast)


def _generator_terms(
    networks: Networks,
    part: _Part,
    translation: _Translation,
    other_style: Tensor,
    source_style: Tensor,
    autocast: bool,
) -> dict[str, Tensor]:
    with in_bfloat16(part.source, autocast):
        logits = _discriminator(networks)(translation.image, part.domain)
        recovered = networks.style_encoder(translation.image, part.domain)
        with torch.no_grad():
            other = networks.generator.decode_features(translation.features, other_style, part.masks)
        reconstruction = networks.generator(translation.image, source_style, networks.masks(translation.image))
    return {
        "adv": adversarial_loss(logits, real=True),
        "sty": style_loss(recovered, translation.style),
        "ds": diversity(translation.image, other),
        "cyc": cycle_loss(reconstruction, part.source),
    }


def _discriminator(networks: Networks) -> Discriminator:
    if networks.discriminator is None:
        raise ValueError("an averaged set of networks has no discriminator and cannot be trained")
    return networks.discriminator
