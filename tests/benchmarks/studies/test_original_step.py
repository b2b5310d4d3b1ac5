"""The step as the original writes it and the step that wastes nothing end in equal parameters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from starcast.benchmarks.studies.original_step import original_step
from starcast.options import replace_options
from starcast.train.families.stargan_v2.batches import Batch
from starcast.train.families.stargan_v2.family import FAMILY
from starcast.train.families.stargan_v2.networks import Networks, StarGANv2Config, averaged_copy, build_networks
from starcast.train.families.stargan_v2.options import StarGANv2Options
from starcast.train.run import read_losses

TINY = StarGANv2Config(
    image_size=32, domains=3, style_dim=5, latent_dim=4, mapping_width=8, channel_base=128, max_channels=6
)


def trained(step_function, options: StarGANv2Options, steps: int) -> tuple[list[dict[str, float]], Networks, Networks]:
    """Losses of every step, networks and average after so many steps in float64, from the same start."""
    networks = build_networks(TINY, seed=3)
    draws = torch.Generator().manual_seed(4)
    for _, module in networks.items():
        module.double()
        # No parameter at 0: a bias before a norm has no true gradient, and without weight decay Adam would make whole
        # steps of its rounding noise.
        for parameter in module.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=draws, dtype=torch.float64)
    averaged = averaged_copy(networks)
    optimizers = FAMILY.build_optimizers(networks, options)
    log = [
        read_losses(step_function(networks, averaged, optimizers, a_batch(4, seed=step), step, options, autocast=False))
        for step in range(steps)
    ]
    return log, networks, averaged


def a_batch(size: int, seed: int) -> Batch:
    draws = torch.Generator().manual_seed(seed)
    images = torch.rand(3, size, 3, 32, 32, generator=draws, dtype=torch.float64) * 2 - 1
    domains = torch.randint(TINY.domains, (2, size), generator=draws)
    latents = torch.randn(2, size, TINY.latent_dim, generator=draws, dtype=torch.float64)
    return Batch(images[0], domains[0], images[1], images[2], domains[1], latents[0], latents[1])


def parameters(networks: Networks) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for name, state in networks.state_dicts().items() for key, value in state.items()}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("r1_every", [1, 2])
def test_both_steps_give_equal_losses_and_parameters(r1_every):
    options = replace_options(
        StarGANv2Options(), lambda_ds=2, ds_steps=10, lambda_reg=0.5, lambda_sty=3, lambda_cyc=4, r1_every=r1_every,
        learning_rate=1e-3, mapping_learning_rate=1e-4, average_decay=0.9,
    )  # fmt: skip
    ours, networks, averaged = trained(FAMILY.training_step, options, steps=2)
    originals, their_networks, their_averaged = trained(original_step, options, steps=2)
    for found, wanted in zip(ours, originals, strict=True):
        assert found == pytest.approx(wanted, rel=1e-9)
    for mine, theirs in ((networks, their_networks), (averaged, their_averaged)):
        found = parameters(mine)
        for name, wanted in parameters(theirs).items():
            torch.testing.assert_close(found[name], wanted, rtol=1e-9, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


def test_the_originals_step_leaves_the_batch_as_it_was():
    """Or a lean step on the same batch would pay for the gradient of its source."""
    networks = build_networks(TINY, seed=3)
    for _, module in networks.items():
        module.double()
    batch = a_batch(2, seed=0)
    options = StarGANv2Options()
    optimizers = FAMILY.build_optimizers(networks, options)
    original_step(networks, averaged_copy(networks), optimizers, batch, 0, options)
    assert not batch.source.requires_grad
    assert batch.source.grad is None
