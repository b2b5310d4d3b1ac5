"""A training step of AFHQ's networks in bfloat16, with the AdaIN kernel and with torch's operators."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from starcast.benchmarks.bench.clock import DeviceClock
from starcast.benchmarks.studies.adain_figures import Step
from starcast.benchmarks.studies.in_turn import Run, time_in_turn
from starcast.benchmarks.studies.noise_batch import draw_batch
from starcast.options import replace_options
from starcast.train.adain import Implementation
from starcast.train.data.batch import TensorBatch
from starcast.train.device import reproducible
from starcast.train.families import family, options_class

BATCH, DOMAINS = 8, 3
OPTIONS = replace_options(options_class()(), image_size=256, batch_size=BATCH)
STEPS = 10  # of each
WARM_UP_S = 0.5
IMPLEMENTATIONS: tuple[Implementation, ...] = ("reference", "triton")


def measure_step(clock: DeviceClock) -> Step:
    """Time both in turn. Two trainings are on the GPU at once: the peak of each includes the other's weights."""
    batch = draw_batch(OPTIONS, DOMAINS).to_step(clock.device, torch.channels_last)
    peaks: dict[str, float] = {}
    makers: dict[str, Callable[[], Run]] = {
        name: partial(_prepare, name, batch, peaks, clock) for name in IMPLEMENTATIONS
    }
    with reproducible(clock.device, deterministic=False):  # as a training run does
        times, failures = time_in_turn(makers, STEPS, warm_up_s=WARM_UP_S)
    return Step(times, {name: peaks[name] for name in times}, failures)


def _prepare(implementation: Implementation, batch: TensorBatch, peaks: dict[str, float], clock: DeviceClock) -> Run:
    kind = family(OPTIONS.family)
    networks: Any = kind.build_networks(kind.configure(OPTIONS, DOMAINS), seed=0)
    networks.to(clock.device, torch.channels_last).use_adain(implementation)
    averaged, optimizers = kind.averaged_copy(networks), kind.build_optimizers(networks, OPTIONS)

    def run() -> float:
        torch.cuda.reset_peak_memory_stats()
        start = clock.mark()
        kind.training_step(networks, averaged, optimizers, batch, 0, OPTIONS, autocast=True)
        end = clock.mark()
        clock.wait()
        peaks[implementation] = torch.cuda.max_memory_allocated() / 2**30
        return clock.between_ms(start, end)

    for _ in range(3):
        run()
    return run
