"""Images of any number of channels as RGB, transparent ones on white."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_WHITE = 255


def on_white(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey, RGB or RGBA images [..., H, W, 1, 3 or 4] as RGB, rounded; RGB is returned as it is."""
    channels = images.shape[-1]
    if channels == 1:
        return np.repeat(images, 3, axis=-1)
    if channels == 3:
        return images
    colours, alpha = images[..., :3].astype(np.uint16), images[..., 3:].astype(np.uint16)
    blend: NDArray[np.uint8] = ((colours * alpha + _WHITE * (_WHITE - alpha) + _WHITE // 2) // _WHITE).astype(np.uint8)
    return blend
