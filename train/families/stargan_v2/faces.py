"""Masks of a face's features, made from the heatmaps of its landmarks: where a face model keeps the source's detail.

    heatmaps (N, 98, 64, 64)  ->  masks (N, 2, 256, 256) in 0..1

The first mask covers all features of the face, the second leaves out chin, brows and mouth. Rows that a shift pushes
over the edge come back in on the other side, as in the original.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from starcast.train.families.stargan_v2.landmarks import FAN, SIDE

MASKS = 2
FLOOR = 0.1  # a heatmap's values below it are noise
SMALLEST_RANGE = 1e-6


@dataclass(frozen=True)
class Part:
    """Neighbouring landmarks `first` to `last`: their maps are raised to a power, added, and moved up by some rows."""

    first: int
    last: int
    rows: int = 0
    power: int = 1
    in_second: bool = True  # whether the second mask has the part, too

    def of(self, maps: Tensor) -> Tensor:
        """(N, 98, H, W) in 0..1 -> (N, 1, H, W)."""
        own = maps[:, self.first : self.last + 1]
        added = (own if self.power == 1 else own**self.power).sum(dim=1, keepdim=True)
        return added.roll(-self.rows, dims=2) if self.rows else added


# No part has the cheeks (0 to 7, 25 to 32), 33 and 46 of the brows, and 76 and 82 of the lips
PARTS = (
    Part(8, 24, power=3, in_second=False),  # chin
    Part(34, 45, rows=-7, power=2, in_second=False),  # brows
    Part(47, 50, rows=-7, power=2, in_second=False),
    Part(51, 51),  # bridge of the nose
    Part(52, 54, rows=4),
    Part(55, 59, rows=8, power=4),  # nostrils
    Part(60, 75, rows=-8, power=3),  # eyes, and again 16 rows lower
    Part(60, 75, rows=-24),
    Part(77, 81, rows=-8, power=4, in_second=False),  # upper lip
    Part(83, 87, rows=8, power=4, in_second=False),  # lower lip
    Part(88, 95, rows=-2, power=3, in_second=False),  # inner edge of the lips
    Part(96, 97),  # pupils
)


def masks_of(heatmaps: Tensor, floor: float = FLOOR) -> Tensor:
    """The masks (N, 2, 256, 256) in 0..1 of the landmarks' heatmaps (N, 98, 64, 64)."""
    maps = F.interpolate(heatmaps, size=(SIDE, SIDE), mode="bilinear", align_corners=True)
    maps = torch.where(maps < floor, 0.0, maps)
    low, high = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
    maps = (maps - low) / (high - low + SMALLEST_RANGE)
    second = torch.stack([part.of(maps) for part in PARTS if part.in_second]).sum(dim=0)
    others = torch.stack([part.of(maps) for part in PARTS if not part.in_second]).sum(dim=0)
    masks = torch.cat([second + others, second], dim=1)
    return torch.where(masks.isnan(), 0.0, masks).clamp(0, 1)


@torch.no_grad()
def face_masks(fan: FAN, images: Tensor, side: int) -> Tensor:
    """The masks (N, 2, h, w) of images (N, 3, H, W) in -1..1, for a generator that was trained at `side`.

    Squares of that size have masks of 256 px, as the original; h and w grow with H and W. Computed in the
    network's own precision, whatever the caller's autocast.
    """
    with torch.autocast(images.device.type, enabled=False):
        masks = masks_of(fan(images.to(fan.l0.weight.dtype)))
        height, width = (length * SIDE // side for length in images.shape[2:])
        if (height, width) != (SIDE, SIDE):
            masks = F.interpolate(masks, size=(height, width), mode="bilinear")
    return masks
