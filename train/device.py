"""Where a run computes, and in which precision: chosen once, then passed on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._dynamo.exc import ShortenTraceback
from torch.utils import deterministic as determinism

from starcast.errors import OptionError, TrainingError


def choose_device(name: str) -> torch.device:
    """The device of this name; `auto` is CUDA if there is a GPU. Raises OptionError for `cuda` without one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise OptionError(f"--device cuda needs an NVIDIA GPU, but {why_no_gpu()}: use --device cpu")
    return torch.device(name)


def why_no_gpu() -> str:
    """Why torch finds no GPU, as a clause. On Windows, the torch that pip installs by default has no CUDA."""
    if torch.version.cuda is None:
        return (
            "this torch was built without CUDA (for a GPU: pip install --force-reinstall torch torchvision "
            "--index-url https://download.pytorch.org/whl/cu130)"
        )
    return f"torch, built for CUDA {torch.version.cuda}, finds no GPU (if there is one, update its driver)"


def describe_machine(device: torch.device, autocast: bool, norms: str | None) -> str:
    """The machine as a phrase, such as `on NVIDIA H100 in bf16, with norms by triton`. `norms`: None if there is no
    choice."""
    name = "the CPU" if device.type == "cpu" else torch.cuda.get_device_name(device)
    return f"on {name} in {'bf16' if autocast else 'fp32'}" + (f", with norms by {norms}" if norms else "")


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The type to compute in, float32 or bfloat16. Raises OptionError if the device does not support bfloat16."""
    capable = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if name == "auto":
        name = "bf16" if capable else "fp32"
    if name == "bf16" and not capable:
        raise OptionError("--precision bf16 needs an NVIDIA GPU of 2020 or later (Ampere): use --precision fp32")
    return torch.bfloat16 if name == "bf16" else torch.float32


@contextmanager
def compute_reproducibly(device: torch.device, deterministic: bool) -> Iterator[None]:
    """Within the block, compute the same bits each time on the CPU, and on CUDA if `deterministic` is set.

    An operation that cannot do this raises on the CPU (none of ours does) and warns on CUDA.
    """
    guard: Any = determinism  # fill_uninitialized_memory is a property, which type checkers do not see
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        guard.fill_uninitialized_memory,
        torch.backends.cudnn.benchmark,
    )
    on_cuda = device.type == "cuda"
    if on_cuda and deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    torch.backends.cudnn.benchmark = on_cuda and not deterministic  # all batches have one shape, so the search pays off
    guard.fill_uninitialized_memory = False  # a debugging aid that writes all memory twice
    torch.use_deterministic_algorithms(deterministic or not on_cuda, warn_only=on_cuda)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        guard.fill_uninitialized_memory = before[2]
        torch.backends.cudnn.benchmark = before[3]


@contextmanager
def explain_failures() -> Iterator[None]:
    """Turn the machine's failures within the block into a TrainingError that says what to change."""
    try:
        yield
    except ShortenTraceback as error:  # the compiler's backend failed, or there is no C compiler
        raise TrainingError(
            f"torch cannot compile the networks here ({_first_line(error)}): leave out --compile"
        ) from error
    except RuntimeError as error:
        exhausted = isinstance(error, torch.OutOfMemoryError) or "ALLOC_FAILED" in str(error)  # cuBLAS and cuDNN
        if exhausted:
            raise TrainingError(
                "the GPU has too little memory for this step: give --accumulate 2 or more, a smaller --batch or "
                "--image-size, or --precision bf16, and close other programs that use the GPU"
            ) from error
        if isinstance(error, torch.AcceleratorError):
            raise TrainingError(
                f"the GPU failed ({_first_line(error)}): see nvidia-smi, update torch and the driver, or use "
                "--device cpu"
            ) from error
        raise


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
