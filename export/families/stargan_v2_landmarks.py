"""`--landmarks`: the landmark network of a face checkpoint that does not store it, and of `align`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starcast.errors import OptionError, printable
from starcast.export.families.naming import name_domains
from starcast.export.options import ExportOptions
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.families.stargan_v2.landmark_weights import open_landmarks, read_landmarks_file
from starcast.train.families.stargan_v2.landmarks import find_heatmaps


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


def landmark_flags(checkpoint: Checkpoint) -> tuple[str, ...]:
    """`--landmarks` for a face model's checkpoint that lacks the landmark network; none for others."""
    lacks = checkpoint.config.is_face_model and "fan" not in checkpoint.averaged
    return ("--landmarks", "wing.ckpt") if lacks else ()


def open_heatmaps(path: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """The landmark network in a file, run by PyTorch on the CPU: an image uint8 RGB [H, W, 3] that a face fills -> its
    heatmaps [98, 64, 64]. Raises CheckpointError."""
    return partial(find_heatmaps, open_landmarks(path))
