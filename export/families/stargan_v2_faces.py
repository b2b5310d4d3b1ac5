"""A face model's two further graphs: FAN, which makes heatmaps of an image, and the masks' arithmetic.

They are apart because heatmaps follow the image continuously, and masks do not follow heatmaps so: below a floor, a
value counts as nothing. The gate compares FAN's heatmaps as strictly as any network's values, and the masks of given
heatmaps as strictly, with the floor where rounding may see it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from starcast.export.families.model import Floats, StyleGraph
from starcast.export.gate.reference import from_bytes
from starcast.runtime.manifest import ExtraInput, LandmarkMaker
from starcast.train.families.stargan_v2.faces import FLOOR, MASKS, masks_of
from starcast.train.families.stargan_v2.landmarks import FAN, LANDMARKS, SIDE

HEATMAP_SIDE = SIDE // 4
LANDMARK_MAKER = LandmarkMaker(graph="landmarks.onnx", points=LANDMARKS, height=HEATMAP_SIDE, width=HEATMAP_SIDE)
MASK_INPUT = ExtraInput(name="masks", graph="masks.onnx", reads="heatmaps", channels=MASKS, height=SIDE, width=SIDE)
ROUNDING = 1e-6  # of a heatmap's largest value: what float32 may be off after the interpolation


def landmark_graph(fan: FAN, images: NDArray[np.uint8]) -> StyleGraph:
    """FAN as a graph for images of any size; the gate compares it on `images`, uint8 [N, H, W, 3]."""
    # Not the size that the network works at, so that the graph resizes images of any size to it
    example = torch.zeros(2, SIDE + 32, SIDE + 64, 3, dtype=torch.uint8)
    network = HeatmapNetwork(fan)
    return StyleGraph(
        LANDMARK_MAKER.graph, network, {"image": example}, network, {"image": images}, output="heatmaps", any_size=True
    )


def mask_graph() -> StyleGraph:
    """The masks' arithmetic as a graph; the gate compares it on drawn heatmaps."""
    return StyleGraph(
        MASK_INPUT.graph,
        MaskNetwork(),
        {"heatmaps": torch.zeros(2, LANDMARKS, HEATMAP_SIDE, HEATMAP_SIDE)},
        MaskNetwork(),
        {"heatmaps": draw_heatmaps(3)},
        output="masks",
        nearby=(MaskNetwork(-ROUNDING), MaskNetwork(ROUNDING)),
    )


def draw_heatmaps(count: int) -> Floats:
    """Heatmaps float32 [count, 98, 64, 64] as of faces: a peak in each map, of drawn width and height, and noise.

    They have peaks below the floor, peaks on the edge, and noise that crosses the floor.
    """
    draws = np.random.RandomState(10)
    maps = count, LANDMARKS, 1, 1
    rows, columns = np.arange(HEATMAP_SIDE)[:, None], np.arange(HEATMAP_SIDE)[None]
    y, x = draws.uniform(-1, HEATMAP_SIDE, (2, *maps))
    width, height = draws.uniform(1, 4, maps), draws.uniform(0, 1.2, maps)
    peaks = height * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * width**2))
    noise = 0.03 * draws.standard_normal((count, LANDMARKS, HEATMAP_SIDE, HEATMAP_SIDE))
    heatmaps: Floats = (peaks + noise).astype(np.float32)
    return heatmaps


class HeatmapNetwork(nn.Module):
    """FAN's heatmaps of images as bytes, of any size."""

    def __init__(self, fan: FAN):
        super().__init__()
        self.fan = fan

    def forward(self, image: Tensor) -> Tensor:
        heatmaps: Tensor = self.fan(from_bytes(image))
        return heatmaps


class MaskNetwork(nn.Module):
    """The masks of heatmaps, with their floor moved by a share of the largest value."""

    def __init__(self, moved: float = 0.0):
        super().__init__()
        self.moved = moved

    def forward(self, heatmaps: Tensor) -> Tensor:
        if not self.moved:
            return masks_of(heatmaps)
        return masks_of(heatmaps, FLOOR + self.moved * max(1.0, heatmaps.abs().max().item()))
