"""One training step of StyleGAN2: the discriminator's updates, the generator's, and now and then their penalties.

    1  discriminator, `d_steps` times               real against generated images
    2  discriminator, every `penalty_every` steps   R1, or the gradient penalty of wgan
    3  generator and mapping network
    4  both, every `path_every` steps               path lengths

Penalties are updates of their own, with `every` times the weight. As in the paper, Adam's rate and decays are those of
the steps in between: k updates do what k + 1 would (Karras et al. 2020, appendix B). Then the averages move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from starcast.train.families.stylegan2.batches import Batch
from starcast.train.families.stylegan2.losses import (
    gradient_penalty,
    looks_fake,
    looks_real,
    path_lengths,
    path_penalty,
    r1_penalty,
)
from starcast.train.families.stylegan2.networks import Discriminator, Networks, PathLength, mix_styles
from starcast.train.families.stylegan2.options import StyleGAN2Loss, StyleGAN2Optimizer, StyleGAN2Options
from starcast.train.families.updates import freeze, in_bfloat16, optimize, update_average
from starcast.train.randomness import torch_seed
from starcast.train.second_derivative import ImageGradients

GENERATING = ("mapping_network", "generator")


def build_optimizers(networks: Networks, options: StyleGAN2Options) -> dict[str, Optimizer]:
    """An Adam for each network, by name, with the rate and the decays that lazy penalties need."""
    loss = options.loss
    every = {"discriminator": loss.penalty_every if loss.penalty_weight else 0}
    every |= dict.fromkeys(GENERATING, loss.path_every if loss.path_weight else 0)
    return {
        name: lazy_adam(module, options.optimizer, every[name]) for name, module in networks.items() if name in every
    }


def lazy_adam(module: nn.Module, options: StyleGAN2Optimizer, every: int) -> Adam:
    """Adam for a network that gets `every + 1` updates in `every` steps, as if it got one a step; 0: it does."""
    share = every / (every + 1) if every else 1.0
    return Adam(
        module.parameters(),
        lr=options.learning_rate * share,
        betas=(options.beta1**share, options.beta2**share),
        eps=options.epsilon,
    )


@dataclass(frozen=True)
class Update:
    """What one update sees: N latents of each kind, where their styles are mixed, and noise for each layer.

    `image` are the real images, of the discriminator's updates alone. `direction` (N, C, S, S) is what path lengths are
    measured along, `share` (N,) in 0..1 where wgan's penalty lies between generated and real images.
    """

    latent: Tensor
    latent2: Tensor
    cutoff: Tensor
    direction: Tensor
    share: Tensor
    noise: tuple[Tensor, ...]
    image: Tensor | None

    def __len__(self) -> int:
        return len(self.latent)

    def split(self, parts: int) -> Iterator[Update]:
        """Micro-batches of every `parts`-th image, so that images which the discriminator compares stay together."""
        count = min(parts, len(self))
        for first in range(count):
            every = slice(first, None, count)
            yield Update(
                self.latent[every], self.latent2[every], self.cutoff[every], self.direction[every], self.share[every],
                tuple(plane[every] for plane in self.noise), None if self.image is None else self.image[every],
            )  # fmt: skip


def training_step(
    networks: Networks,
    averaged: Networks,
    optimizers: Mapping[str, Optimizer],
    batch: Batch,
    step: int,
    options: StyleGAN2Options,
    *,
    autocast: bool,
) -> dict[str, Tensor]:
    """Update networks, optimisers and averages by one step. `step` counts from 0.

    Returns each term, without its weight, detached and still on the device. `D/penalty`, `G/path` and `G/path_length`
    are missing if they are not due.
    """
    course, loss = options.course, options.loss
    discriminator, path_length = _of_training(networks)
    draw = partial(_update, networks, batch, step, options)
    log: dict[str, Tensor] = {}

    def run(update: Update, weight: float, terms_of: Callable[[Update], dict[str, Tensor]]) -> None:
        for part in update.split(course.accumulate):
            share = len(part) / len(update)
            terms = terms_of(part)
            torch.autograd.backward(weight * share * torch.stack(list(terms.values())).sum())
            for name, term in terms.items():
                log[name] = share * term.detach() + log[name] if name in log else share * term.detach()

    for number in range(course.d_steps):
        update = draw(number)
        for name in ("D/real", "D/fake"):
            log.pop(name, None)  # the last update's are shown
        with optimize(optimizers, "discriminator"):
            run(update, 1.0, lambda part: _discriminator_terms(networks, discriminator, part, loss, autocast))
    if loss.penalty_weight and (step + 1) % loss.penalty_every == 0:
        with optimize(optimizers, "discriminator"):
            run(
                update, loss.penalty_weight * loss.penalty_every,
                lambda part: {"D/penalty": _penalty(networks, discriminator, part, loss)},
            )  # fmt: skip

    styles: list[Tensor] = []
    with freeze(discriminator), optimize(optimizers, *GENERATING):
        run(
            draw(course.d_steps),
            1.0,
            lambda part: _generator_terms(networks, discriminator, part, loss, autocast, styles),
        )
    if loss.path_weight and (step + 1) % loss.path_every == 0:
        lengths: list[Tensor] = []
        with optimize(optimizers, *GENERATING):
            run(
                draw(course.d_steps + 1), loss.path_weight * loss.path_every,
                lambda part: {"G/path": _path_term(networks, path_length, part, loss, lengths)},
            )  # fmt: skip
        log["G/path_length"] = torch.cat(lengths).mean()
        path_length.mean.lerp_(log["G/path_length"], loss.path_decay)

    networks.mapping_network.mean.lerp_(torch.cat(styles).mean(0), 1 - course.mean_decay)
    decay = course.average_decay if step + 1 >= course.average_start else 0.0
    update_average(averaged, networks, decay)
    with torch.no_grad():
        averaged.mapping_network.mean.lerp_(networks.mapping_network.mean, 1 - decay)
    return log


def compile_networks(networks: Networks, backend: str = "inductor") -> None:
    """Compile what a step calls, in place. Penalties run uncompiled, because a compiled module cannot be differentiated
    twice."""
    for name, module in networks.items():
        if name != "path_length":
            module.compile(backend=backend)


def _update(networks: Networks, batch: Batch, step: int, options: StyleGAN2Options, number: int) -> Update:
    """What an update sees: the discriminator's come first, then the generator's, then that of path lengths, which has
    fewer images. Its noise is drawn on the device."""
    d_steps, size, seed = options.course.d_steps, options.data.batch_size, options.course.seed
    count = size if number <= d_steps else max(1, size // options.loss.path_share)
    chosen = slice(number * size, number * size + count)
    device = batch.latent.device
    draws = torch.Generator(device)
    draws.manual_seed(torch_seed(seed, step, 0, f"noise of update {number}"))
    normal = partial(torch.randn, generator=draws, device=device)
    side = options.network.image_size
    return Update(
        batch.latent[chosen], batch.latent2[chosen], batch.cutoff[chosen],
        normal(count, options.network.channels, side, side),
        torch.rand(count, generator=draws, device=device),
        tuple(normal(count, 1, *plane.shape[2:]) for plane in networks.generator.stored_noise),
        batch.image[chosen] if number < d_steps else None,
    )  # fmt: skip


def _discriminator_terms(
    networks: Networks, discriminator: Discriminator, part: Update, loss: StyleGAN2Loss, autocast: bool
) -> dict[str, Tensor]:
    with in_bfloat16(part.latent, autocast):
        with torch.no_grad():
            generated = _generate(networks, part)
        fake, real = discriminator(generated), discriminator(part.image)
    return {
        "D/real": looks_real(real, kind=loss.loss_type),
        "D/fake": looks_fake(fake, kind=loss.loss_type),
    }


def _penalty(networks: Networks, discriminator: Discriminator, part: Update, loss: StyleGAN2Loss) -> Tensor:
    """In float32 and uncompiled (`.forward`), as second derivatives need it."""
    assert part.image is not None
    if loss.loss_type == "vanilla":
        image = part.image.detach().requires_grad_()
        with ImageGradients():
            logits = discriminator.forward(image)
        return r1_penalty(logits, image)
    with torch.no_grad():
        generated = _generate(networks, part)
    between = torch.lerp(generated, part.image, part.share[:, None, None, None]).requires_grad_()
    with ImageGradients():
        logits = discriminator.forward(between)
    return gradient_penalty(logits, between)


def _generator_terms(
    networks: Networks, discriminator: Discriminator, part: Update, loss: StyleGAN2Loss, autocast: bool,
    styles: list[Tensor],
) -> dict[str, Tensor]:  # fmt: skip
    with in_bfloat16(part.latent, autocast):
        style, mixed = _styles(networks, part)
        styles.append(style.detach().float())
        logits = discriminator(networks.generator(mixed, part.noise))
    return {"G/fake": looks_real(logits, kind=loss.loss_type)}


def _path_term(
    networks: Networks, path_length: PathLength, part: Update, loss: StyleGAN2Loss, lengths: list[Tensor]
) -> Tensor:
    """The penalty, in float32 and uncompiled. The running mean takes the part's lengths in before it is compared."""
    style, style2 = (networks.mapping_network.forward(latent) for latent in (part.latent, part.latent2))
    mixed = mix_styles(style, style2, part.cutoff, 2 * len(networks.generator.to_image))
    image = networks.generator.forward(mixed, part.noise)
    length = path_lengths(image, mixed, part.direction)
    lengths.append(length.detach())
    return path_penalty(length, torch.lerp(path_length.mean, length.mean(), loss.path_decay))


def _generate(networks: Networks, part: Update) -> Tensor:
    image: Tensor = networks.generator(_styles(networks, part)[1], part.noise)
    return image


def _styles(networks: Networks, part: Update) -> tuple[Tensor, Tensor]:
    """The styles (N, L) of the first latents, and those by layer, mixed with the second's where a cutoff says so."""
    style = networks.mapping_network(part.latent)
    style2 = networks.mapping_network(part.latent2)
    return style, mix_styles(style, style2, part.cutoff, 2 * len(networks.generator.to_image))


def _of_training(networks: Networks) -> tuple[Discriminator, PathLength]:
    if networks.discriminator is None or networks.path_length is None:
        raise ValueError("an averaged set of networks has no discriminator and cannot be trained")
    return networks.discriminator, networks.path_length
