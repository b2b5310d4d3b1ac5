"""The families that can be exported: maps a family's name, as in checkpoints, to a function that opens its model."""

from __future__ import annotations

from collections.abc import Callable

from starcast.errors import CheckpointError, printable
from starcast.export.families.model import Model
from starcast.export.families.naming import name_domains, refuse_names
from starcast.export.families.stargan_v1 import open_stargan_v1
from starcast.export.families.stargan_v1_names import name_labels
from starcast.export.families.stargan_v2 import open_stargan_v2
from starcast.export.families.stargan_v2_landmarks import add_landmarks, landmark_flags
from starcast.export.families.stylegan2 import open_stylegan2
from starcast.export.options import ExportOptions
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.families import FAMILIES as TRAINED

# a checkpoint and its domains' names, in the networks' order -> the model
FAMILIES: dict[str, Callable[[Checkpoint, tuple[str, ...]], Model]] = {
    "stargan_v2": open_stargan_v2,
    "stargan_v1": open_stargan_v1,
    "stylegan2": open_stylegan2,
}

# by family: adds what the options say about a checkpoint, such as names; other families use name_domains
COMPLETE: dict[str, Callable[[Checkpoint, ExportOptions], Checkpoint]] = {
    "stargan_v2": add_landmarks,
    "stargan_v1": name_labels,
    "stylegan2": refuse_names,
}


# by family: the flags without which a checkpoint cannot be exported; other families need none
NEEDED_FLAGS: dict[str, Callable[[Checkpoint], tuple[str, ...]]] = {"stargan_v2": landmark_flags}


def needed_flags(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The flags that an export of the checkpoint needs, with an example of their values."""
    flags = NEEDED_FLAGS.get(checkpoint.family)
    return flags(checkpoint) if flags is not None else ()


def complete(checkpoint: Checkpoint, options: ExportOptions) -> Checkpoint:
    """The checkpoint with what the options add to it, such as its domains' names. Raises OptionError."""
    return COMPLETE.get(checkpoint.family, name_domains)(checkpoint, options)


def open_model(checkpoint: Checkpoint, domains: tuple[str, ...]) -> Model:
    """Open the checkpoint's averaged networks as its family's model. Raises CheckpointError for an unknown family."""
    family = checkpoint.family
    if family not in FAMILIES:
        way_out = (
            f"version can train but not export: give a checkpoint of {' or '.join(FAMILIES)}" if family in TRAINED
            else "starcast cannot export: update starcast"
        )  # fmt: skip
        raise CheckpointError(f"{printable(checkpoint.path)} belongs to family {family!r}, which this {way_out}")
    return FAMILIES[family](checkpoint, domains)
