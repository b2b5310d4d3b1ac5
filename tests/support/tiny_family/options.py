"""The tiny family's options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from starcast.options import group, option
from starcast.train.options import LossOptions, NetworkOptions, TrainOptions


@dataclass(frozen=True, kw_only=True)
class TinyNetwork(NetworkOptions):
    hidden: int = option(4, "Channels between the two layers.", minimum=1)


@dataclass(frozen=True, kw_only=True)
class TinyLoss(LossOptions):
    keep_weight: float = option(0.5, "Weight of the distance to the source.", minimum=0.0)


@dataclass(frozen=True, kw_only=True)
class TinyOptions(TrainOptions):
    family: ClassVar[str] = "tiny"
    recipes: ClassVar[Path] = Path(__file__).parent / "recipes"

    network: TinyNetwork = group(TinyNetwork)
    loss: TinyLoss = group(TinyLoss)


OPTIONS = TinyOptions
