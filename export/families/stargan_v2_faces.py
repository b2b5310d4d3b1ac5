"""A face model's two extra graphs, both rewritten exactly: FAN, which turns an image into heatmaps, and the computation
of masks from heatmaps.

They are separate because heatmaps depend continuously on the image, but masks do not on heatmaps: values below a floor
count as 0. The gate compares FAN's heatmaps as strictly as any network's values. It compares
masks of given heatmaps as strictly, but lets rounding shift the floor.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import partial, reduce

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from starcast.export.families.model import Floats, StyleGraph
from starcast.export.gate.reference import from_bytes
from starcast.runtime.manifest import ExtraInput, LandmarkMaker
from starcast.train.families.stargan_v2.faces import FLOOR, MASKS, PARTS, SMALLEST_RANGE, Part, masks_of
from starcast.train.families.stargan_v2.landmarks import COORDINATES, FAN, LANDMARKS, SIDE, CoordinateConv, coordinates

HEATMAP_SIDE = SIDE // 4
LANDMARK_MAKER = LandmarkMaker(graph="landmarks.onnx", points=LANDMARKS, height=HEATMAP_SIDE, width=HEATMAP_SIDE)
MASK_INPUT = ExtraInput(name="masks", graph="masks.onnx", reads="heatmaps", channels=MASKS, height=SIDE, width=SIDE)
ROUNDING = 1e-6  # of a heatmap's largest value: float32's error after the interpolation


def landmark_graph(fan: FAN, images: NDArray[np.uint8]) -> StyleGraph:
    """FAN as a graph for images of any size; the gate compares it on `images`, uint8 [N, H, W, 3]."""
    # Not the size that the network works at, so that the graph resizes images of any size to it
    example = torch.zeros(2, SIDE + 32, SIDE + 64, 3, dtype=torch.uint8)
    return StyleGraph(
        LANDMARK_MAKER.graph, HeatmapNetwork(fold_coordinates(fan)), {"image": example},
        HeatmapNetwork(fan), {"image": images}, output="heatmaps", any_size=True,
    )  # fmt: skip


def mask_graph() -> StyleGraph:
    """The computation of masks as a graph; the gate compares it on drawn heatmaps."""
    example = torch.zeros(2, LANDMARKS, HEATMAP_SIDE, HEATMAP_SIDE)
    return StyleGraph(
        MASK_INPUT.graph, MaskNetwork(), {"heatmaps": example}, masks_of, {"heatmaps": draw_heatmaps(3)},
        output="masks", nearby=(partial(_with_moved_floor, by=-ROUNDING), partial(_with_moved_floor, by=ROUNDING)),
    )  # fmt: skip


def draw_heatmaps(count: int) -> Floats:
    """Heatmaps float32 [count, 98, 64, 64] like those of faces: each map has noise, and a random peak.

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


def fold_coordinates(fan: FAN) -> FAN:
    """A copy of FAN that adds a constant map in place of its coordinate channels.

    Coordinates are the same for every image, and so is what a convolution makes of them. The first norm, which is
    affine, is folded into the weights before it.
    """
    network = copy.deepcopy(fan)
    norm = network.bn1
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)  # type: ignore[operator, arg-type]
    network.conv1 = PlacedConv(fan.conv1, SIDE, scale, norm.bias - norm.running_mean * scale)  # type: ignore[assignment, operator]
    network.bn1 = nn.Identity()  # type: ignore[assignment]
    network.m0.coordconv = PlacedConv(fan.m0.coordconv, HEATMAP_SIDE)  # type: ignore[assignment]
    return network.requires_grad_(False)


class PlacedConv(nn.Module):
    """A `CoordinateConv` for maps of one size, with a scale and a shift [C] of its outputs: conv(x) + constant."""

    places: Tensor  # (1, C, h, w)

    def __init__(self, conv: CoordinateConv, side: int, scale: Tensor | None = None, shift: Tensor | None = None):
        super().__init__()
        old = conv.conv
        weight = old.weight if scale is None else old.weight * scale[:, None, None, None]
        channels = old.in_channels - COORDINATES
        self.conv = nn.Conv2d(
            channels, old.out_channels, old.kernel_size, old.stride, old.padding, bias=False  # type: ignore[arg-type]
        )  # fmt: skip
        with torch.no_grad():
            self.conv.weight.copy_(weight[:, :channels])
            of_places = F.conv2d(coordinates(side, side), weight[:, channels:], None, old.stride, old.padding)
            assert old.bias is not None
            bias = old.bias if scale is None else old.bias * scale
            self.register_buffer("places", of_places + (bias if shift is None else bias + shift)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        whole: Tensor = self.conv(x) + self.places
        return whole


class MaskNetwork(nn.Module):
    """`masks_of`, computed as engines do it fastest: heatmaps (N, 98, 64, 64) -> masks (N, 2, 256, 256).

    Only maps that a mask uses are enlarged, part by part, so that they stay in the CPU's cache. Enlarging, and adding
    maps by their scales, are matrix products.
    """

    enlarge: Tensor  # (256, 64): bilinear, corners aligned
    across: Tensor

    def __init__(self) -> None:
        super().__init__()
        lines = torch.eye(HEATMAP_SIDE)[None, None]
        enlarge = F.interpolate(lines, size=(SIDE, HEATMAP_SIDE), mode="bilinear", align_corners=True)[0, 0]
        self.register_buffer("enlarge", enlarge)
        self.register_buffer("across", enlarge.t().contiguous())

    def forward(self, heatmaps: Tensor) -> Tensor:
        made = {}
        for part in PARTS:
            if (part.first, part.last) not in made:
                made[part.first, part.last] = self._floored(heatmaps[:, part.first : part.last + 1])
        sums = [(part, _sum(part, *made[part.first, part.last])) for part in PARTS]
        second = _sum_of(one for part, one in sums if part.in_second)
        masks = torch.cat([second + _sum_of(one for part, one in sums if not part.in_second), second], dim=1)
        return torch.where(masks.isnan(), 0.0, masks).clamp(0, 1)

    def _floored(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (N, K, 256 * 256), 0 at their lowest, and the scales (N, K) that make their highest 1."""
        maps = (self.enlarge @ heatmaps @ self.across).flatten(2)
        low, high = (torch.where(end < FLOOR, 0.0, end) for end in (maps.amin(dim=2), maps.amax(dim=2)))
        # a product, because ONNX Runtime takes three times as long for a Where
        return maps * (maps >= FLOOR) - low[:, :, None], 1 / (high - low + SMALLEST_RANGE)


def _sum(part: Part, maps: Tensor, scales: Tensor) -> Tensor:
    """(N, 1, 256, 256) of a part's maps."""
    added = scales.pow(part.power)[:, None] @ _power(maps, part.power)
    square = added.reshape(-1, 1, SIDE, SIDE)
    return square.roll(-part.rows, dims=2) if part.rows else square


def _power(maps: Tensor, power: int) -> Tensor:
    """By products, because engines take much longer for a Pow."""
    if power == 1:
        return maps
    half = _power(maps, power // 2)
    return half * half * maps if power % 2 else half * half


def _sum_of(values: Iterable[Tensor]) -> Tensor:
    """The sum in order."""
    return reduce(torch.add, values)


def _with_moved_floor(heatmaps: Tensor, by: float) -> Tensor:
    """The masks with a floor moved by a share of the largest value."""
    return masks_of(heatmaps, FLOOR + by * max(1.0, heatmaps.abs().max().item()))
