"""What a training file holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

StateDicts = dict[str, dict[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A training file's content, on the CPU. State dicts by the networks' names, in float32.

    `layout` is "starcast" or "official". `config` is the family's own. `networks` includes those that only train.
    `dataset` has at least `name` and `path`. `note` says what is unusual about the file, or is None.
    """

    path: Path
    layout: str
    family: str
    config: Any
    domain_names: tuple[str, ...]
    step: int | None
    averaged: StateDicts
    networks: StateDicts | None = None
    optimizers: dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    dataset: dict[str, Any] | None = None
    note: str | None = None
