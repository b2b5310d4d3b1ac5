"""One training step of StarGAN v2: four updates in the official order, then the average.

    1  discriminator                                     styles from latents
    2  discriminator                                     styles from references
    3  generator, mapping network and style encoder      styles from latents
    4  generator alone                                   styles from references

The numbers are the original's; the work is less. What no update changes is computed once, and nothing takes a
gradient that no optimiser reads:

- update 1's translation keeps its graph and serves update 3 too, since only the discriminator moves in between; the
  source's features serve updates 1, 2 and 3. (With `accumulate` above 1 they are made again, to save memory.)
- the diversity term's second translation has no graph and starts from the same features;
- the discriminator takes no gradient in updates 3 and 4, mapping network and style encoder none in update 4, the
  source none but for R1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
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
from starcast.train.families.stargan_v2.networks import Discriminator, Networks
from starcast.train.families.stargan_v2.options import StarGANv2Loss, StarGANv2Optimizer
from starcast.train.second_derivative import PictureGradients


def term_weights(step: int, loss: StarGANv2Loss) -> dict[str, float]:
    """The factor of every term in an update's total, by the term's short name; no `reg` where R1 is not due."""
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
    """An Adam for each network, by its name. The weight decay is L2: it is added to the gradient."""
    return {
        name: Adam(
            module.parameters(),
            lr=options.mapping_learning_rate if name == "mapping_network" else options.learning_rate,
            betas=(options.beta1, options.beta2),
            weight_decay=options.weight_decay,
        )
        for name, module in networks.items()
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

    Gives each term, without its weight, by its official name (`D/latent_real` … `G/ref_cyc`, `G/lambda_ds`), detached
    and still on the device. `D/latent_reg` and `D/ref_reg` are absent where R1 is not due.
    """
    weights = term_weights(step, loss)
    parts = batch.split(accumulate)
    low = autocast
    log: dict[str, Tensor] = {}

    def backward(update: str, part: Batch, terms: dict[str, Tensor]) -> None:
        share = len(part) / len(batch)
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        torch.autograd.backward(share * total)
        for name, term in terms.items():
            key = f"{update}_{name}"
            log[key] = share * term.detach() + log[key] if key in log else share * term.detach()

    made = None
    with _updating(optimizers, "discriminator"):
        for part in parts:
            with torch.set_grad_enabled(len(parts) == 1):
                made = _from_latent(networks, part, low)
            backward("D/latent", part, _discriminator_terms(networks, part, made.image.detach(), weights, low))
    kept = made if len(parts) == 1 else None
    del made

    with _updating(optimizers, "discriminator"):
        for part in parts:
            image = _from_reference(networks, part, kept, low)
            backward("D/ref", part, _discriminator_terms(networks, part, image, weights, low))

    with _frozen(networks.discriminator), _updating(optimizers, "generator", "mapping_network", "style_encoder"):
        for part in parts:
            backward("G/latent", part, _latent_terms(networks, part, kept, low))
    del kept

    with (
        _frozen(networks.discriminator, networks.mapping_network, networks.style_encoder),
        _updating(optimizers, "generator"),
    ):
        for part in parts:
            backward("G/ref", part, _reference_terms(networks, part, low))

    update_average(averaged, networks, average_decay)
    log["G/lambda_ds"] = torch.full((), -weights["ds"], device=batch.source.device)
    return log


@torch.no_grad()
def update_average(averaged: Networks, networks: Networks, decay: float) -> None:
    """Move every parameter of the average towards the network's by 1 - decay, in place."""
    training = dict(networks.items())
    for name, module in averaged.items():
        torch._foreach_lerp_(list(module.parameters()), list(training[name].parameters()), 1 - decay)


def compile_networks(networks: Networks, backend: str = "inductor") -> None:
    """Compile what a step calls, in place. Names of parameters stay; R1 keeps running uncompiled, because a compiled
    module cannot be differentiated twice."""
    generator = networks.generator
    for name in ("encode_source", "decode_features"):
        setattr(generator, name, torch.compile(getattr(generator, name), backend=backend))
    for name, module in networks.items():
        if name != "generator":
            module.compile(backend=backend)


@dataclass(frozen=True)
class _Translation:
    """A source's features, the style, and the image that the decoder makes of them, with or without a graph."""

    features: Tensor
    style: Tensor
    image: Tensor


def _from_latent(networks: Networks, part: Batch, low: bool) -> _Translation:
    with _precision(part, low):
        features = networks.generator.encode_source(part.source)
        style = networks.mapping_network(part.latent, part.domain)
        return _Translation(features, style, networks.generator.decode_features(features, style))


@torch.no_grad()
def _from_reference(networks: Networks, part: Batch, kept: _Translation | None, low: bool) -> Tensor:
    with _precision(part, low):
        features = kept.features if kept else networks.generator.encode_source(part.source)
        return networks.generator.decode_features(features, networks.style_encoder(part.reference, part.domain))


def _discriminator_terms(
    networks: Networks, part: Batch, translation: Tensor, weights: Mapping[str, float], low: bool
) -> dict[str, Tensor]:
    discriminator = _discriminator(networks)
    terms = {}
    if "reg" in weights:
        source = part.source.detach().requires_grad_()
        # .forward passes by torch.compile, and nothing here is in bfloat16: both are for the second derivative.
        with PictureGradients():
            logits = discriminator.forward(source, part.source_domain)
        terms["reg"] = r1_penalty(logits, source)
    else:
        with _precision(part, low):
            logits = discriminator(part.source, part.source_domain)
    terms["real"] = adversarial_loss(logits, real=True)
    with _precision(part, low):
        logits = discriminator(translation, part.domain)
    terms["fake"] = adversarial_loss(logits, real=False)
    return terms


def _latent_terms(networks: Networks, part: Batch, kept: _Translation | None, low: bool) -> dict[str, Tensor]:
    made = kept or _from_latent(networks, part, low)
    with _precision(part, low), torch.no_grad():
        other_style = networks.mapping_network(part.latent2, part.domain)
    with _precision(part, low):
        source_style = networks.style_encoder(part.source, part.source_domain)
    return _generator_terms(networks, part, made, other_style, source_style, low)


def _reference_terms(networks: Networks, part: Batch, low: bool) -> dict[str, Tensor]:
    with _precision(part, low):
        with torch.no_grad():
            style = networks.style_encoder(part.reference, part.domain)
            other_style = networks.style_encoder(part.reference2, part.domain)
            source_style = networks.style_encoder(part.source, part.source_domain)
        features = networks.generator.encode_source(part.source)
        made = _Translation(features, style, networks.generator.decode_features(features, style))
    return _generator_terms(networks, part, made, other_style, source_style, low)


def _generator_terms(
    networks: Networks, part: Batch, made: _Translation, other_style: Tensor, source_style: Tensor, low: bool
) -> dict[str, Tensor]:
    with _precision(part, low):
        logits = _discriminator(networks)(made.image, part.domain)
        found = networks.style_encoder(made.image, part.domain)
        with torch.no_grad():
            other = networks.generator.decode_features(made.features, other_style)
        reconstruction = networks.generator(made.image, source_style)
    return {
        "adv": adversarial_loss(logits, real=True),
        "sty": style_loss(found, made.style),
        "ds": diversity(made.image, other),
        "cyc": cycle_loss(reconstruction, part.source),
    }


@contextmanager
def _updating(optimizers: Mapping[str, Optimizer], *names: str) -> Iterator[None]:
    """One update: no gradients before the block, a step of these optimisers after it, and again no gradients."""
    for name in names:
        optimizers[name].zero_grad()
    yield
    for name in names:
        optimizers[name].step()
        optimizers[name].zero_grad()  # not later: the next update needs the memory


@contextmanager
def _frozen(*modules: nn.Module | None) -> Iterator[None]:
    """Within the block, no parameter of these takes a gradient; gradients still flow through them."""
    for module in modules:
        if module is not None:
            module.requires_grad_(False)
    try:
        yield
    finally:
        for module in modules:
            if module is not None:
                module.requires_grad_(True)


def _precision(part: Batch, low: bool) -> torch.autocast:
    # Without a cache: a bfloat16 copy of a weight made where there is no graph would be reused where one is needed.
    return torch.autocast(part.source.device.type, torch.bfloat16, enabled=low, cache_enabled=False)


def _discriminator(networks: Networks) -> Discriminator:
    if networks.discriminator is None:
        raise ValueError("an averaged set of networks has no discriminator and cannot be trained")
    return networks.discriminator
