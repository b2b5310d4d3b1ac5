"""Where a run computes, and in which arithmetic: chosen once, then passed on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._dynamo.exc import BackendCompilerFailed
from torch.utils import deterministic as determinism

from starcast.errors import OptionError, TrainingError


def choose_device(name: str) -> torch.device:
    """`auto` is the CUDA card where there is one. Raises OptionError for cuda without a card."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise OptionError("--device cuda needs an NVIDIA card and a torch built for CUDA: use --device cpu")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """float32 or bfloat16. Raises OptionError where the device has no bfloat16."""
    capable = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if name == "auto":
        name = "bf16" if capable else "fp32"
    if name == "bf16" and not capable:
        raise OptionError("--precision bf16 needs an NVIDIA card of 2020 or later (Ampere): use --precision fp32")
    return torch.bfloat16 if name == "bf16" else torch.float32


@contextmanager
def reproducible(device: torch.device, deterministic: bool) -> Iterator[None]:
    """While a run computes: the same bits each time on the CPU, and on CUDA where `deterministic` asks for them.

    An operation that cannot keep this raises on the CPU (none of ours does) and warns on CUDA.
    """
    guard: Any = determinism  # a property of the module, which type checkers do not see
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        guard.fill_uninitialized_memory,
        torch.backends.cudnn.benchmark,
    )
    on_cuda = device.type == "cuda"
    if on_cuda and deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    torch.backends.cudnn.benchmark = on_cuda and not deterministic  # every batch has one shape: the fastest kernel pays
    guard.fill_uninitialized_memory = False  # a guard for debugging that writes all memory twice
    torch.use_deterministic_algorithms(deterministic or not on_cuda, warn_only=on_cuda)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        guard.fill_uninitialized_memory = before[2]
        torch.backends.cudnn.benchmark = before[3]


@contextmanager
def explained() -> Iterator[None]:
    """What a machine refuses during a step, as a sentence that says what to change."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            "the card has too little memory for this step: give --accumulate 2 or more, a smaller --batch-size or "
            "--image-size, or --precision bf16"
        ) from error
    except BackendCompilerFailed as error:
        cause = str(error).partition("\n")[0]
        raise TrainingError(f"torch cannot compile the networks here ({cause}): leave out --compile") from error
