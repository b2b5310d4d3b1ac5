"""`export --landmarks`: the landmark network of a face checkpoint that does not store it."""

from __future__ import annotations

import dataclasses

from starcast.errors import OptionError, printable
from starcast.export.families.naming import name_domains
from starcast.export.options import ExportOptions
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.families.stargan_v2.landmark_weights import read_landmarks_file


def add_landmarks(checkpoint: Checkpoint, options: ExportOptions) -> Checkpoint:
    """The checkpoint with its domains' names, and with the landmark network that the options name.

    Raises OptionError if it needs none, or has its own, and CheckpointError if the file does not hold one.
    """
    named = name_domains(checkpoint, options)
    if options.landmarks is None:
        return named
    if not checkpoint.config.is_face_model:
        raise OptionError(f"{printable(checkpoint.path)} is not a face model: leave --landmarks out")
    if "fan" in checkpoint.averaged:
        raise OptionError(f"{printable(checkpoint.path)} has its own landmark network: leave --landmarks out")
    averaged = {**checkpoint.averaged, "fan": read_landmarks_file(options.landmarks)}
    return dataclasses.replace(named, averaged=averaged, note=None)
