"""Proof that what arrived is what was asked for: it is opened, and its content looked at."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from starcast.errors import CheckpointError, DownloadError, printable
from starcast.train.checkpoint.content import is_state_dict
from starcast.train.checkpoint.file import read_checkpoint, read_content
from starcast.train.families import family

LANDMARKS = 98  # of a face, as x and y
MOST_BYTES = 2**20  # of the mean landmarks, which are 784 or 1568
_OTHER = "give the right address with --url"


def prove(path: Path, kind: str) -> str:
    """A line on what the file is. Raises DownloadError if it is something else. Archives: see `check_archive`."""
    try:
        return _PROOFS[kind](path)
    except CheckpointError as error:
        raise DownloadError(f"the downloaded file is not the right one: {error}") from error


def _checkpoint(path: Path) -> str:
    checkpoint = read_checkpoint(path)
    domains = len(checkpoint.domain_names)
    return f"a {family(checkpoint.family).title} checkpoint of {domains} domains, {checkpoint.config.image_size} px"


def _weights(path: Path) -> str:
    content = read_content(path)
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not is_state_dict(state):
        raise DownloadError(f"{printable(path.name)} holds no weights of the landmark network (state_dict): {_OTHER}")
    return f"weights of {len(state or {})} tensors"


def _mean(path: Path) -> str:
    if path.stat().st_size > MOST_BYTES:
        raise DownloadError(f"{printable(path.name)} is too large for mean landmarks: {_OTHER}")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            mean = arrays["mean"]
            fits = mean.shape == (LANDMARKS, 2) and bool(np.isfinite(mean).all())
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise DownloadError(f"{printable(path.name)} has no array of mean landmarks ({error}): {_OTHER}") from error
    if not fits:
        raise DownloadError(f"{printable(path.name)} has mean landmarks of shape {mean.shape}, not (98, 2): {_OTHER}")
    return f"mean landmarks of {LANDMARKS} points"


_PROOFS: dict[str, Callable[[Path], str]] = {"checkpoint": _checkpoint, "weights": _weights, "mean": _mean}
