"""The tiny family's sample grid: sources, and a row for each domain."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from starcast.train.data.folders import DataSet
from starcast.train.samples import image_grid, sample_images
from tiny_family.networks import Networks
from tiny_family.options import TinyOptions


@dataclass(frozen=True)
class SampleInputs:
    sources: Tensor
    domains: int

    def to(self, device: torch.device) -> SampleInputs:
        return SampleInputs(self.sources.to(device), self.domains)


def sample_inputs(data_set: DataSet, options: TinyOptions) -> SampleInputs:
    sources = torch.stack([sample_images(domain, 1, options)[0] for domain in data_set.domains])
    return SampleInputs(sources, len(data_set.domains))


@torch.inference_mode()
def grids(networks: Networks, averaged: Networks, inputs: SampleInputs) -> dict[str, Tensor]:
    labels = torch.eye(inputs.domains, device=inputs.sources.device)
    rows = [averaged.recolour(inputs.sources, label.expand(len(inputs.sources), -1)) for label in labels]
    return {"labels": image_grid([inputs.sources, *rows])}
