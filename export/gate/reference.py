"""PyTorch's own translations, bytes to bytes: the reference for graphs, engines and benchmark rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SCALE = 127.5  # 0..255 <-> -1..1

# images (N, 3, H, W) in -1..1 and styles (N, S), or styles (N, layers, S) and each layer's noise (N or 1, 1, h, w)
# -> images (N, C, H, W)
Network = Callable[..., Tensor]


def from_bytes(images: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) -> float32 (N, 3, H, W) in -1..1. Gives the same values as the scaling in training."""
    return images.to(torch.float32).permute(0, 3, 1, 2) / SCALE - 1


def to_bytes(translations: Tensor) -> Tensor:
    """Floats (N, 3, H, W) in -1..1 -> uint8 (N, H, W, 3), rounded half to even and clipped."""
    levels = (translations * SCALE + SCALE).round().clamp(0, 255)
    return levels.permute(0, 2, 3, 1).to(torch.uint8)


def from_levels(levels: NDArray[Any]) -> NDArray[Any]:
    """Unrounded grey levels in 0..255 -> -1..1, in the array's own precision."""
    result: NDArray[Any] = (levels - SCALE) / SCALE
    return result


def as_floats(images: NDArray[np.uint8]) -> Tensor:
    """`from_bytes` of a NumPy array."""
    return from_bytes(torch.from_numpy(images))


def as_bytes(translations: NDArray[Any]) -> NDArray[np.uint8]:
    """`to_bytes` of a NumPy array, scaled in float64."""
    levels: NDArray[np.uint8] = to_bytes(torch.from_numpy(translations.astype(np.float64))).numpy()
    return levels


def translate(
    network: Network, images: NDArray[np.uint8], styles: NDArray[np.float32], *extras: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Translations by a network on the CPU: uint8 [N, H, W, 3], float32 [N or 1, S] -> uint8 [N, H, W, 3].

    `extras` are the network's further inputs, such as masks of faces.
    """
    with torch.inference_mode():
        result: NDArray[np.uint8] = Eager(network)(*map(torch.from_numpy, (images, styles, *extras))).numpy()
    return result


@dataclass(frozen=True)
class Eager:
    """A network that takes images as bytes, if it takes any, and makes images as bytes, on the device that holds its
    inputs.

    The network gets inputs of type `dtype`, images in `memory_format`; with `autocast` it runs in that type. Call it in
    inference mode.
    """

    network: Network
    dtype: torch.dtype = torch.float32
    memory_format: torch.memory_format = torch.contiguous_format
    autocast: torch.dtype | None = None

    def __call__(self, images: Tensor | None, styles: Tensor, *extras: Tensor) -> Tensor:
        """uint8 (N, H, W, 3), floats (N or 1, S), further inputs such as masks -> uint8 (N, H, W, C),
        contiguous. Without images: floats (N, layers, S) and each layer's noise (N or 1, 1, h, w)."""
        inputs = tuple(one.to(self.dtype) for one in (styles, *extras))
        if images is not None:
            source = from_bytes(images).to(self.dtype).contiguous(memory_format=self.memory_format)
            inputs = source, inputs[0].expand(len(images), -1), *inputs[1:]
        with torch.autocast(styles.device.type, self.autocast, enabled=self.autocast is not None):
            made = self.network(*inputs)
        return to_bytes(made.float()).contiguous()
