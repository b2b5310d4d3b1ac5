"""A training step of AFHQ's networks in bfloat16, with the AdaIN kernel and with torch's operators."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from starcast.benchmarks.bench.clock import DeviceClock
from starcast.benchmarks.studies.adain_figures import Step
from starcast.benchmarks.studies.in_turn import Run, time_in_turn
from starcast.train.adain import Implementation
from starcast.train.device import reproducible
from starcast.train.families.stargan_v2.batches import Batch
from starcast.train.families.stargan_v2.networks import StarGANv2Config, averaged_copy, build_networks
from starcast.train.families.stargan_v2.options import StarGANv2Options
from starcast.train.families.stargan_v2.step import build_optimizers, training_step

CONFIG = StarGANv2Config(image_size=256, domains=3)
BATCH = 8
STEPS = 10  # of each
WARM_UP_S = 0.5
IMPLEMENTATIONS: tuple[Implementation, ...] = ("reference", "triton")


def measure_step(clock: DeviceClock) -> Step:
    """Time both in turn. Two trainings are on the GPU at once: the peak of each includes the other's weights."""
    batch = _batch().to(clock.device, torch.channels_last)
    peaks: dict[str, float] = {}
    makers: dict[str, Callable[[], Run]] = {
        name: partial(_stepping, name, batch, peaks, clock) for name in IMPLEMENTATIONS
    }
    with reproducible(clock.device, deterministic=False):  # as a training run does
        times, failures = time_in_turn(makers, STEPS, warm_up_s=WARM_UP_S)
    return Step(times, {name: peaks[name] for name in times}, failures)


def _stepping(implementation: Implementation, batch: Batch, peaks: dict[str, float], clock: DeviceClock) -> Run:
    networks = build_networks(CONFIG, seed=0).to(clock.device, torch.channels_last).use_adain(implementation)
    options = StarGANv2Options()
    averaged, optimizers = averaged_copy(networks), build_optimizers(networks, options.optimizer)

    def run() -> float:
        torch.cuda.reset_peak_memory_stats()
        first = clock.mark()
        training_step(
            networks, averaged, optimizers, batch, 0, options.loss, average_decay=options.course.average_decay,
            autocast=True,
        )  # fmt: skip
        last = clock.mark()
        clock.wait()
        peaks[implementation] = torch.cuda.max_memory_allocated() / 2**30
        return clock.between_ms(first, last)

    for _ in range(3):
        run()
    return run


def _batch() -> Batch:
    image = torch.randn(BATCH, 3, CONFIG.image_size, CONFIG.image_size)
    domain = torch.arange(BATCH) % CONFIG.domains
    latent = torch.randn(BATCH, CONFIG.latent_dim)
    return Batch(image, domain, image.flip(0), image.flip(3), domain.flip(0), latent, latent.flip(0))
