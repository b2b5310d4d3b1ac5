"""The tiny family, as export asks for it: styles are labels, given as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from starcast.export.families.model import About, Floats, Model, StyleGraph
from starcast.runtime.manifest import Condition, LabelMaker
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.checkpoint.file import averaged_networks
from tiny_family.networks import Networks


class TinyModel(Model):
    family = "tiny"
    about = About(title="A tiny model", tags=("tiny",), styles="A style is a number for each label.")

    def __init__(self, networks: Networks, domains: tuple[str, ...], side: int) -> None:
        self.networks, self.domains, self.side = networks, domains, side
        self.stride, self.style_size = 1, len(domains)

    @property
    def generator(self) -> nn.Module:
        return self.networks.recolour

    @property
    def facts(self) -> Mapping[str, str]:
        return {}

    def condition(self, mean_draws: int | None) -> Condition:
        return Condition(size=self.style_size, labels=LabelMaker(names=self.domains, classes=len(self.domains)))

    def style_graphs(self) -> Sequence[StyleGraph]:
        return []

    def gate_styles(self, count: int) -> Floats:
        return np.eye(self.style_size, dtype=np.float32)[np.arange(count) % self.style_size]

    def draw_style(self, domain: int, draws: np.random.RandomState) -> Floats:
        return self.preview_styles()[domain : domain + 1]

    def preview_styles(self) -> Floats:
        return np.eye(self.style_size, dtype=np.float32)


def open_tiny(checkpoint: Checkpoint, domains: tuple[str, ...]) -> TinyModel:
    return TinyModel(averaged_networks(checkpoint), domains, checkpoint.config.image_size)
