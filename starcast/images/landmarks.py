"""Landmarks of faces, read from a network's heatmaps. NumPy alone, so that training and the runtime share it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# for advice: the official weights of the network, and where they are
WING = "wing.ckpt, which `starcast download wing` fetches (from github.com/clovaai/stargan-v2)"


def read_landmarks(heatmaps: NDArray[np.floating], height: int, width: int) -> NDArray[np.float32]:
    """Where the landmarks of images of that size are: heatmaps [N, K, h, w] -> float32 [N, K, 2], (x, y) in pixels.

    Each landmark is at its map's largest value, moved by a quarter of a cell towards the larger neighbour on each axis,
    unless the cell is on the map's edge. Of equal values the first counts.
    """
    images, points, rows, columns = heatmaps.shape
    peaks = heatmaps.reshape(images, points, rows * columns).argmax(axis=2)
    y, x = np.divmod(peaks, columns)
    places = np.stack([x, y], axis=2) + 0.5
    inside = (x > 0) & (x < columns - 1) & (y > 0) & (y < rows - 1)
    image, point = np.nonzero(inside)
    at_x, at_y = x[inside], y[inside]
    right, left = heatmaps[image, point, at_y, at_x + 1], heatmaps[image, point, at_y, at_x - 1]
    below, above = heatmaps[image, point, at_y + 1, at_x], heatmaps[image, point, at_y - 1, at_x]
    places[inside] += 0.25 * np.sign(np.stack([right - left, below - above], axis=1))
    scale = np.array([width / columns, height / rows])
    landmarks: NDArray[np.float32] = (places * scale).astype(np.float32)
    return landmarks
