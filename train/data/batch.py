"""One step's tensors: move them to a device, split them into micro-batches, and convert bytes to -1..1."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class TensorBatch:
    """Base of a family's batch: a frozen dataclass of tensors whose first dimension is the batch. Images are float
    (N, 3, H, W) in -1..1, or uint8 as they come from a loader."""

    def __len__(self) -> int:
        return len(getattr(self, dataclasses.fields(self)[0].name))

    def to(self, device: torch.device | str, memory_format: torch.memory_format | None = None) -> Self:
        """A copy on a device, with the images in `memory_format` if one is given."""

        def moved(x: Tensor) -> Tensor:
            x = x.to(device, non_blocking=True)
            return x.contiguous(memory_format=memory_format) if memory_format is not None and x.dim() == 4 else x

        return type(self)(*(moved(value) for value in self._tensors()))

    def split(self, parts: int) -> list[Self]:
        """Split into `parts` micro-batches whose sizes differ by at most one; fewer if there are fewer images."""
        columns = (value.tensor_split(min(parts, len(self))) for value in self._tensors())
        return [type(self)(*row) for row in zip(*columns, strict=True)]

    def pin_memory(self) -> Self:
        """A copy in page-locked memory, which a GPU can read while it computes."""
        return type(self)(*(value.pin_memory() for value in self._tensors()))

    def to_step(self, device: torch.device, layout: torch.memory_format) -> Self:
        """Prepare a loader's batch for a step: move it to the device, with images in `layout` and in -1..1.

        Until then images are bytes, a quarter of the size: workers pass them through pipes.
        """
        there = self.to(device)
        images: dict[str, Any] = {
            field.name: to_signed(value).contiguous(memory_format=layout)
            for field in dataclasses.fields(there)
            if (value := getattr(there, field.name)).dtype == torch.uint8
        }
        return dataclasses.replace(there, **images)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes as plain bytes. torch would use shared memory or open files, which may be scarce."""
        return _unpack, (type(self), [value.numpy() for value in self._tensors()])

    def _tensors(self) -> list[Tensor]:
        return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _unpack(batch: type[TensorBatch], arrays: list[NDArray[Any]]) -> TensorBatch:
    return batch(*(torch.from_numpy(array) for array in arrays))


def to_signed(pixels: Tensor) -> Tensor:
    """uint8 -> float32 in -1..1."""
    return (pixels.float() / 255 - 0.5) / 0.5
