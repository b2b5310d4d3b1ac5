"""A check: a question that only an NVIDIA GPU can answer. Two errors end it without figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.runtime.engines.registry import find_engine

Figures = dict[str, Any]


class WrongError(Exception):
    """The check failed; the message says why."""


class NotRunError(Exception):
    """The check cannot run on this machine; the message says why."""


@dataclass(frozen=True)
class Check:
    """A check's name, the function that runs it in a folder shared by all checks, and its time limit."""

    name: str
    answer: Callable[[Path], Figures]
    timeout_s: float = 600.0


def require_engine(name: str) -> None:
    """Raise NotRunError if an engine is absent."""
    absence = find_engine(name).absent()
    if absence is not None:
        raise NotRunError(f"{name} is {absence.reason}")


def require_torch_gpu() -> Any:
    """torch, with Triton and a GPU. Raises NotRunError if one of them is missing."""
    try:
        import torch
        import triton  # noqa: F401
    except ImportError as error:
        raise NotRunError(f"{error.name} is not installed") from error
    if not torch.cuda.is_available():
        raise NotRunError("this torch was built without CUDA, or sees no GPU")
    return torch


def require_errors_within(errors: dict[str, float], limit: float) -> Figures:
    """The errors as figures. Raises WrongError if one exceeds the limit or is NaN."""
    if not all(error <= limit for error in errors.values()):
        raise WrongError(", ".join(f"{name}: {error:.3g}" for name, error in errors.items()) + f", over {limit:g}")
    return {"errors": errors, "allowed": limit}


def relative_error(actual: NDArray[Any], expected: NDArray[Any]) -> float:
    """The largest difference, relative to the largest expected value."""
    return float(np.abs(actual.astype(np.float64) - expected).max() / np.abs(expected).max())


def last_line(text: str) -> str:
    """The last line that is not empty."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it printed nothing")
