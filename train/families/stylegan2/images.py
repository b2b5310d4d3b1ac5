"""Images of one, three or four channels: read from files, squared and resized for training, and shown in grids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2

from starcast.images.read import read_stored
from starcast.train.data.batches import DecodedImages

_GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow converts


def read_channels(path: Path, channels: int) -> NDArray[np.uint8]:
    """An image as uint8 [H, W, channels]: grey, RGB on white, or RGB with opacity. Raises ImageError."""
    stored = read_stored(path)
    if channels == 1:
        grey: NDArray[np.uint8] = np.rint(stored.pixels @ _GREY).astype(np.uint8)
        return grey[:, :, None]
    if channels == 3:
        return stored.pixels
    opacity = np.full(stored.pixels.shape[:2], 255, np.uint8) if stored.alpha is None else stored.alpha
    return np.dstack([take_off_white(stored.pixels, opacity), opacity])


def take_off_white(pixels: NDArray[np.uint8], opacity: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The colours [H, W, 3] that give these pixels on white with this opacity [H, W]; white where nothing is seen."""
    share = opacity[:, :, None] / 255
    colours = 255 - (255 - pixels.astype(float)) / np.maximum(share, 1 / 255)
    rounded: NDArray[np.uint8] = np.rint(np.clip(np.where(share == 0, 255, colours), 0, 255)).astype(np.uint8)
    return rounded


class ImagesOfChannels(DecodedImages):
    """Reads files as uint8 (channels, H, W) and caches them."""

    def __init__(self, budget: int, channels: int) -> None:
        super().__init__(budget)
        self.channels = channels

    def decode(self, path: Path) -> NDArray[np.uint8]:
        return read_channels(path, self.channels)


def square_transform(size: int, square: str, *, flip: bool) -> v2.Transform:
    """uint8 (C, H, W) -> uint8 (C, size, size), mirrored half the time if `flip`."""
    steps: list[Any] = [CentralSquare()] if square == "crop" else []
    steps.append(v2.Resize((size, size), antialias=True))
    return v2.Compose([*steps, v2.RandomHorizontalFlip()] if flip else steps)


class CentralSquare(v2.Transform):  # type: ignore[misc]
    """The largest square in an image's centre."""

    def transform(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        height, width = image.shape[-2:]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return image[..., top : top + side, left : left + side]


def as_rgb(images: Tensor) -> Tensor:
    """Images (N, 1, 3 or 4, H, W) in -1..1 as RGB: grey three times, opacity over a grey ground."""
    if images.shape[1] == 1:
        return images.expand(-1, 3, -1, -1)
    if images.shape[1] == 3:
        return images
    opacity = (images[:, 3:].clamp(-1, 1) + 1) / 2
    return opacity * images[:, :3].clamp(-1, 1)
