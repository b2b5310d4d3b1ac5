"""StyleGAN2 as a family: what training, checkpoints, export and benchmarks use of it."""

from __future__ import annotations

from starcast.train.families.base import Family
from starcast.train.families.stylegan2.batches import ImageBatches
from starcast.train.families.stylegan2.data import scan_images
from starcast.train.families.stylegan2.lukau2357 import checkpoint_files
from starcast.train.families.stylegan2.networks import (
    AVERAGED,
    TRAINED,
    StyleGAN2Config,
    averaged_copy,
    build_networks,
    empty_networks,
    random_networks,
)
from starcast.train.families.stylegan2.official import UNSAFE_FILES, check_config, describe_foreign, read_official
from starcast.train.families.stylegan2.options import StyleGAN2Options
from starcast.train.families.stylegan2.samples import grids, sample_inputs
from starcast.train.families.stylegan2.step import build_optimizers, compile_networks, training_step


def _configure(options: StyleGAN2Options, _domains: int) -> StyleGAN2Config:
    return StyleGAN2Config(**vars(options.network))


FAMILY = Family(
    name=StyleGAN2Options.family,
    title="StyleGAN2",
    averaged=AVERAGED,
    trained=TRAINED,
    shown_losses={"D": "D/real", "G": "G/fake", "path": "G/path_length"},
    configure=_configure,
    read_config=lambda values: StyleGAN2Config(**values),
    build_networks=build_networks,
    empty_networks=empty_networks,
    averaged_copy=averaged_copy,
    random_networks=random_networks,
    scan=scan_images,
    batches=ImageBatches,
    build_optimizers=build_optimizers,
    training_step=training_step,
    compile_networks=compile_networks,
    sample_inputs=sample_inputs,
    sample_grids=grids,
    constants=("generator.noise_",),
    check_config=check_config,
    read_official=read_official,
    describe_foreign=describe_foreign,
    checkpoint_files=checkpoint_files,
    unsafe_files=UNSAFE_FILES,
)
