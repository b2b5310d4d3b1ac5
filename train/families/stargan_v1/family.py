"""StarGAN v1 as a family: what training, checkpoints, export and benchmarks use of it."""

from __future__ import annotations

from torch.optim import Optimizer

from starcast.train.families.base import Family
from starcast.train.families.stargan_v1.batches import LabelledBatches, scan
from starcast.train.families.stargan_v1.networks import (
    AVERAGED,
    TRAINED,
    Networks,
    StarGANv1Config,
    averaged_copy,
    build_networks,
    empty_networks,
    random_networks,
)
from starcast.train.families.stargan_v1.official import check_config, describe_foreign, read_official
from starcast.train.families.stargan_v1.options import StarGANv1Options
from starcast.train.families.stargan_v1.samples import grids, sample_inputs
from starcast.train.families.stargan_v1.step import build_optimizers, compile_networks, training_step


def _configure(options: StarGANv1Options, labels: int) -> StarGANv1Config:
    attributes = len(options.data.attributes)
    return StarGANv1Config(**vars(options.network), attributes=attributes, classes=labels - attributes)


def _optimizers(networks: Networks, options: StarGANv1Options) -> dict[str, Optimizer]:
    return build_optimizers(networks, options.optimizer)


FAMILY = Family(
    name=StarGANv1Options.family,
    title="StarGAN v1",
    averaged=AVERAGED,
    trained=TRAINED,
    shown_losses={
        "real": "D/loss_real",
        "fake": "D/loss_fake",
        "gp": "D/loss_gp",
        "cls": "G/loss_cls",
        "rec": "G/loss_rec",
    },
    configure=_configure,
    read_config=lambda values: StarGANv1Config(**values),
    build_networks=build_networks,
    empty_networks=empty_networks,
    averaged_copy=averaged_copy,
    random_networks=random_networks,
    scan=scan,
    batches=LabelledBatches,
    build_optimizers=_optimizers,
    training_step=training_step,
    compile_networks=compile_networks,
    sample_inputs=sample_inputs,
    sample_grids=grids,
    check_config=check_config,
    read_official=read_official,
    describe_foreign=describe_foreign,
)
