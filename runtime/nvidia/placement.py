"""Whether an array is on a GPU. Asked on machines without a GPU too, so this imports nothing that is for GPUs."""

from __future__ import annotations

from typing import Any

GPU = 2  # kDLCUDA, DLPack's number for the memory of an NVIDIA GPU


def is_on_gpu(value: Any) -> bool:
    """Whether an array is on a GPU."""
    device = getattr(value, "__dlpack_device__", None)
    if device is not None and device()[0] == GPU:
        return True
    return hasattr(value, "__cuda_array_interface__")
