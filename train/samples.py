"""What all families' sample grids share: images of a domain, and a grid of images as a JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.utils import make_grid

from starcast.atomic import atomic_path
from starcast.errors import ImageError
from starcast.images.read import read_image
from starcast.train.data.batch import to_signed
from starcast.train.data.folders import Domain
from starcast.train.options import TrainOptions
from starcast.train.randomness import draws


def sample_images(domain: Domain, count: int, options: TrainOptions) -> list[Tensor]:
    """Up to `count` images (3, H, W) in -1..1, resized and not cropped, held-out ones first. Grey if none can be read.

    Drawn at random: neighbours in a folder are often alike, and domains often share file names for the same motif.
    """
    side = options.network.image_size
    resize = v2.Resize((side, side), antialias=True)
    order = draws(options.course.seed, 0, 0, f"sample images of {domain.name}")
    paths = [files[index] for files in (domain.held_out, domain.training) for index in order.permutation(len(files))]
    return [image for _, image in first_readable(paths, count, resize)] or [torch.zeros(3, side, side)]


def first_readable(paths: Sequence[Path], count: int, prepare: v2.Transform) -> list[tuple[int, Tensor]]:
    """Index and image (3, H, W) in -1..1 of the first `count` files that can be read, prepared as uint8."""
    images: list[tuple[int, Tensor]] = []
    for index, path in enumerate(paths):
        if len(images) == count:
            break
        try:
            image = read_image(path)
        except ImageError:
            continue
        images.append((index, to_signed(prepare(torch.from_numpy(image).permute(2, 0, 1)))))
    return images


def image_grid(rows: list[Tensor]) -> Tensor:
    """Rows of images (N, 3, H, W) in -1..1 as one image, uint8 (3, H', W')."""
    grid: Tensor = make_grid(to_pixels(torch.cat(rows)).cpu(), nrow=len(rows[0]), padding=2, pad_value=255)
    return grid


def write_grid(path: Path, pixels: Tensor) -> None:
    """Write a grid, uint8 (3, H, W), as JPEG, atomically."""
    with atomic_path(path) as partial:
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(partial, format="JPEG", quality=95)


def to_pixels(images: Tensor) -> Tensor:
    """-1..1 -> uint8, half rounded up, as the official code saves images."""
    return ((images.float() + 1) / 2 * 255 + 0.5).clamp(0, 255).floor().to(torch.uint8)
