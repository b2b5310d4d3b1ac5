"""The original StarGAN, written independently of the product: checkpoints of any kind with random weights, and what its
program makes of an image with them.

Its generator stays in training mode, so norms use the image's own statistics; the running ones in the files are random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]


def write_original(
    folder: Path, labels: int, read: int, side: int, *, width: int = 4, blocks: int = 1, seed: int = 0
) -> tuple[Weights, Weights]:
    """Write 200000-G.ckpt and 200000-D.ckpt of a model with a label vector of that length, of which the discriminator
    has `read` names, and return their weights."""
    draws = torch.Generator().manual_seed(seed)
    generator: dict[str, Tensor] = {}
    discriminator: dict[str, Tensor] = {}

    def normal(*shape: int, spread: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=draws) * spread

    def kernel(name: str, first: int, second: int, size: int, fan: int) -> None:
        generator[f"{name}.weight"] = normal(first, second, size, size, spread=1.5 / fan**0.5)

    def norm(name: str, channels: int) -> None:
        generator[f"{name}.weight"], generator[f"{name}.bias"] = 1 + normal(channels, spread=0.3), normal(channels) / 5
        generator[f"{name}.running_mean"], generator[f"{name}.running_var"] = normal(channels), normal(channels) ** 2
        generator[f"{name}.num_batches_tracked"] = torch.tensor(7)

    kernel("main.0", width, 3 + labels, 7, 49 * (3 + labels))
    norm("main.1", width)
    for place, channels in ((3, width), (6, 2 * width)):
        kernel(f"main.{place}", 2 * channels, channels, 4, 16 * channels)
        norm(f"main.{place + 1}", 2 * channels)
    for place in range(9, 9 + blocks):
        for part in (0, 3):
            kernel(f"main.{place}.main.{part}", 4 * width, 4 * width, 3, 36 * width)
            norm(f"main.{place}.main.{part + 1}", 4 * width)
    for place, channels in ((9 + blocks, 4 * width), (12 + blocks, 2 * width)):
        kernel(f"main.{place}", channels, channels // 2, 4, 4 * channels)
        norm(f"main.{place + 1}", channels // 2)
    kernel(f"main.{15 + blocks}", 3, width, 7, 49 * width)
    layers = side.bit_length() - 2  # the last features are 2x2
    channels = 3
    for place in range(layers):
        wide = 2 << place
        discriminator[f"main.{2 * place}.weight"] = normal(wide, channels, 4, 4, spread=(16 * channels) ** -0.5)
        discriminator[f"main.{2 * place}.bias"] = normal(wide) / 5
        channels = wide
    discriminator["conv1.weight"] = normal(1, channels, 3, 3) / 9
    discriminator["conv2.weight"] = normal(read, channels, 2, 2)
    torch.save(generator, folder / "200000-G.ckpt")
    torch.save(discriminator, folder / "200000-D.ckpt")
    return generator, discriminator


def original_image(weights: Weights, image: NDArray[np.uint8], labels: Sequence[float]) -> NDArray[np.float32]:
    """The generator's image [H, W, 3] in grey levels, not rounded, for an image uint8 [H, W, 3]."""
    x = _scaled(image)
    planes = torch.tensor(labels, dtype=torch.float32).view(1, -1, 1, 1).repeat(1, 1, *x.shape[2:])
    blocks = sum(name.endswith(".main.0.weight") for name in weights)

    def normed(h: Tensor, name: str) -> Tensor:
        mean, variance = h.mean((2, 3), keepdim=True), h.var((2, 3), unbiased=False, keepdim=True)
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return (h - mean) / (variance + 1e-5).sqrt() * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)

    h = F.conv2d(torch.cat([x, planes], 1), weights["main.0.weight"], padding=3)
    h = normed(h, "main.1").clamp(min=0)
    for place in (3, 6):
        h = F.conv2d(h, weights[f"main.{place}.weight"], stride=2, padding=1)
        h = normed(h, f"main.{place + 1}").clamp(min=0)
    for place in range(9, 9 + blocks):
        inner = F.conv2d(h, weights[f"main.{place}.main.0.weight"], padding=1)
        inner = normed(inner, f"main.{place}.main.1").clamp(min=0)
        inner = F.conv2d(inner, weights[f"main.{place}.main.3.weight"], padding=1)
        h = h + normed(inner, f"main.{place}.main.4")
    for place in (9 + blocks, 12 + blocks):
        h = F.conv_transpose2d(h, weights[f"main.{place}.weight"], stride=2, padding=1)
        h = normed(h, f"main.{place + 1}").clamp(min=0)
    made = torch.tanh(F.conv2d(h, weights[f"main.{15 + blocks}.weight"], padding=3))
    # the original's denorm: (x + 1) / 2, in 0..1
    levels: NDArray[np.float32] = ((made[0].permute(1, 2, 0) + 1) / 2 * 255).numpy()
    return levels


def original_logits(weights: Weights, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the discriminator's second head says of the labels of an image of its size, uint8 [side, side, 3]."""
    h, place = _scaled(image), 0
    while f"main.{place}.weight" in weights:
        h = F.conv2d(h, weights[f"main.{place}.weight"], weights[f"main.{place}.bias"], stride=2, padding=1)
        h, place = F.leaky_relu(h, 0.01), place + 2
    logits: NDArray[np.float32] = F.conv2d(h, weights["conv2.weight"]).flatten().numpy()
    return logits


def _scaled(image: NDArray[np.uint8]) -> Tensor:
    """ToTensor, then Normalize with mean and deviation 0.5."""
    return (torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None] - 0.5) / 0.5
