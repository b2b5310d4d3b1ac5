"""StarGAN v2 as a family: what training, checkpoints, export and benchmarks use of it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.optim import Optimizer

from starcast.train.data.folders import scan_domains
from starcast.train.families.base import Family
from starcast.train.families.stargan_v2.batches import Batch, ReferenceBatches
from starcast.train.families.stargan_v2.heads import carry_over
from starcast.train.families.stargan_v2.landmark_weights import NO_FAN, complete_networks
from starcast.train.families.stargan_v2.networks import (
    AVERAGED,
    TRAINED,
    Networks,
    StarGANv2Config,
    averaged_copy,
    build_networks,
    empty_networks,
    random_networks,
)
from starcast.train.families.stargan_v2.official import check_config, describe_foreign, read_official
from starcast.train.families.stargan_v2.options import StarGANv2Options
from starcast.train.families.stargan_v2.samples import grids, sample_inputs
from starcast.train.families.stargan_v2.step import build_optimizers, compile_networks, training_step


def _configure(options: StarGANv2Options, domains: int) -> StarGANv2Config:
    return StarGANv2Config.of(options.network, domains)


def _optimizers(networks: Networks, options: StarGANv2Options) -> dict[str, Optimizer]:
    return build_optimizers(networks, options.optimizer)


def _step(
    networks: Networks,
    averaged: Networks,
    optimizers: Mapping[str, Optimizer],
    batch: Batch,
    step: int,
    options: StarGANv2Options,
    *,
    autocast: bool,
) -> dict[str, Tensor]:
    course = options.course
    return training_step(
        networks, averaged, optimizers, batch, step, options.loss,
        average_decay=course.average_decay, accumulate=course.accumulate, autocast=autocast,
    )  # fmt: skip


FAMILY = Family(
    name=StarGANv2Options.family,
    title="StarGAN v2",
    averaged=AVERAGED,
    trained=TRAINED,
    shown_losses={
        "D": "D/latent_real",
        "adv": "G/latent_adv",
        "sty": "G/latent_sty",
        "ds": "G/latent_ds",
        "cyc": "G/latent_cyc",
    },
    configure=_configure,
    read_config=lambda values: StarGANv2Config(**values),
    build_networks=build_networks,
    empty_networks=empty_networks,
    averaged_copy=averaged_copy,
    random_networks=random_networks,
    scan=scan_domains,
    batches=ReferenceBatches,
    build_optimizers=_optimizers,
    training_step=_step,
    compile_networks=compile_networks,
    sample_inputs=sample_inputs,
    sample_grids=grids,
    carry_over=carry_over,
    fixed={"fan": NO_FAN},
    add_fixed=complete_networks,
    check_config=check_config,
    read_official=read_official,
    describe_foreign=describe_foreign,
)
