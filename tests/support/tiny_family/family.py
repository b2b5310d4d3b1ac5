"""The tiny family, as train asks for it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from starcast.train.data.folders import scan_domains
from starcast.train.families.base import Family
from tiny_family.batches import LabelledBatches
from tiny_family.networks import TinyConfig, averaged_copy, build_networks, carry_over, empty_networks, random_networks
from tiny_family.options import TinyOptions
from tiny_family.samples import grids, sample_inputs
from tiny_family.step import build_optimizers, training_step


def _check_config(config: TinyConfig, weights: Mapping[str, Mapping[str, Tensor]], origin: str) -> None:
    hidden, domains = weights["recolour"]["label.weight"].shape
    if (hidden, domains) != (config.hidden, config.domains):
        raise ValueError(f"hidden and domains are not the weights' {hidden} and {domains}")


FAMILY = Family(
    name="tiny",
    title="tiny family",
    averaged=("recolour",),
    trained=("recolour",),
    shown_losses={"colour": "colour"},
    configure=lambda options, domains: TinyConfig(**vars(options.network), domains=domains),
    read_config=lambda values: TinyConfig(**values),
    build_networks=build_networks,
    empty_networks=empty_networks,
    averaged_copy=averaged_copy,
    random_networks=random_networks,
    scan=scan_domains,
    batches=LabelledBatches,
    build_optimizers=build_optimizers,
    training_step=training_step,
    compile_networks=lambda networks: None,
    sample_inputs=sample_inputs,
    sample_grids=grids,
    carry_over=carry_over,
    check_config=_check_config,
    read_official=lambda path, content, read: None,
    describe_foreign=lambda content: None,
)
assert TinyOptions.family == FAMILY.name
