"""Drawn images with their ground truth, and measures of what a translation keeps and changes.

Images are uint8 (N, H, W, 3) in RGB, silhouettes bool (N, H, W), colours float64 (N, 3) in grey levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from starcast.errors import DatasetError
from starcast.train.creatures.dataset import read_facts
from starcast.train.creatures.draw import draw_creature

Images = NDArray[np.uint8]  # (N, H, W, 3), RGB
Silhouettes = NDArray[np.bool_]  # (N, H, W)


@dataclass(frozen=True)
class HeldOut:
    """Real images and true silhouettes of a domain."""

    images: Images
    silhouettes: Silhouettes


def read_held_out(folder: Path) -> dict[str, HeldOut]:
    """The held-out images of a drawn data set by domain; their silhouettes are drawn again from the set's facts."""
    size, facts = read_facts(folder)
    return {
        domain: HeldOut(
            np.stack([_read(Path(folder) / creature.file) for creature in creatures]),
            np.stack([draw_creature(creature.pose, creature.coat, size)[1] for creature in creatures]),
        )
        for domain, creatures in facts.items()
    }


def read_training_images(folder: Path, most: int = 200) -> tuple[Images, NDArray[np.int64]]:
    """Up to `most` training images of each domain, and their domains as indices in the order of `read_held_out`."""
    images, domains = [], []
    for index, domain in enumerate(read_facts(folder)[1]):
        files = sorted((Path(folder) / domain / "train").glob("*.png"))[:most]
        images += [_read(file) for file in files]
        domains += [index] * len(files)
    if not images:
        raise DatasetError(f"{folder} holds no training images: create it again with `starcast dataset make`")
    return np.stack(images), np.array(domains, np.int64)


def _read(file: Path) -> NDArray[np.uint8]:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


Numbers = NDArray[np.float64]

BACKDROP_DISTANCE = 30.0  # grey levels in any channel; pixels nearer to the backdrop's colour count as backdrop
EDGE_SHARE = (
    0.4  # of the largest distance beside a pixel; below this, a creature's line covers less than half of the pixel
)
BACKDROP_NOISE = 15.0  # enclosed pixels nearer than this are gaps that show the backdrop
BORDER = 2  # pixels along the image's edge that show only backdrop
CLEARANCE = 3  # pixels around a silhouette that count neither as creature nor as backdrop


def find_silhouettes(images: Images) -> Silhouettes:
    """Pixels that differ from the image's own backdrop, and what they enclose, except gaps between legs.

    The backdrop's colour is the median along the image's edge, so a drifted backdrop does not change the silhouette;
    `backdrop_drifts` measures the drift.
    """
    return np.stack([_find_silhouette(image) for image in images])


def _find_silhouette(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    edge = np.ones(image.shape[:2], bool)
    edge[BORDER:-BORDER, BORDER:-BORDER] = False
    distance = np.abs(image - np.median(image[edge], axis=0)).max(axis=2)
    beside = cv2.dilate(distance, np.ones((3, 3), np.uint8))
    different = distance > np.maximum(BACKDROP_DISTANCE, EDGE_SHARE * beside)
    # pale spots and muzzles come near the backdrop's grey, but not as near as the backdrop itself
    count, regions = cv2.connectedComponents((~different).astype(np.uint8), connectivity=4)
    at_edge = np.unique(regions[edge])
    for region in range(1, count):
        inside = regions == region
        if region not in at_edge and np.median(distance[inside]) > BACKDROP_NOISE:
            different[inside] = True
    return np.asarray(different, np.bool_)


def overlaps(first: Silhouettes, second: Silhouettes) -> Numbers:
    """Intersection over union of every pair, (N,); 0 where both are empty."""
    both = np.logical_and(first, second).sum(axis=(1, 2))
    either = np.logical_or(first, second).sum(axis=(1, 2))
    return np.asarray(both / np.maximum(either, 1), np.float64)


def backdrop_drifts(sources: Images, translations: Images, silhouettes: Silhouettes) -> Numbers:
    """How far the mean colour outside the sources' silhouettes moved, (N,), in grey levels of the worst channel."""
    outside = ~_dilate(silhouettes)
    moved = np.abs(_mean_colours(translations, outside) - _mean_colours(sources, outside))
    return np.asarray(moved.max(axis=1), np.float64)


def coat_colours(images: Images, silhouettes: Silhouettes) -> Numbers:
    """The mean colour of every creature, (N, 3), leaving out the pixels at its edge, which mix with the backdrop."""
    return _mean_colours(images, ~_dilate(~silhouettes, 1))


def _dilate(masks: Silhouettes, pixels: int = CLEARANCE) -> Silhouettes:
    kernel = np.ones((2 * pixels + 1,) * 2, np.uint8)
    return np.stack([cv2.dilate(mask.astype(np.uint8), kernel) > 0 for mask in masks])


def _mean_colours(images: Images, masks: Silhouettes) -> Numbers:
    weights = masks[..., None].astype(np.float64)
    return np.asarray((images * weights).sum(axis=(1, 2)) / np.maximum(weights.sum(axis=(1, 2)), 1.0))


def spread(colours: Numbers) -> float:
    """The square root of the trace of the covariance of colours: their distance from their mean, in grey levels."""
    return float(np.sqrt(np.var(colours, axis=0, ddof=1).sum()))


def rank_correlation(first: Numbers, second: Numbers) -> float:
    """Spearman's rank correlation of two rows: equal values share a rank; 0 if a row is constant."""
    ranks = np.stack([_ranks(first), _ranks(second)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    lengths = np.sqrt((ranks**2).sum(axis=1))
    if not lengths.all():
        return 0.0
    return float((ranks[0] * ranks[1]).sum() / (lengths[0] * lengths[1]))


def _ranks(values: Numbers) -> Numbers:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[places], np.float64)
