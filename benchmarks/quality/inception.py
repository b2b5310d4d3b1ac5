"""Features of torchvision's Inception v3, for images prepared in one of two ways.

official   to the model's size, then to 299 px: Pillow's antialiased bilinear, rounded to bytes after each, as the
           official StarGAN v2 does it
clean      to 299 px at once: Pillow's bicubic in float, channel by channel, not rounded (Parmar et al. 2022)

Both end in ImageNet's mean and deviation. The features are the 2,048 pooled ones. The weights are torchvision's, so
distances do not compare with those from the usual TensorFlow weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from starcast.benchmarks.quality.weights import Weights, load_weights
from starcast.images.fit import fit

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Prepare = Callable[[Pixels], Floats]  # uint8 [H, W, 3] -> float32 [3, 299, 299]

SIDE = 299
WIDTH = 2048
AT_ONCE = 16  # images in one pass
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


def prepare_official(image: Pixels, size: tuple[int, int]) -> Floats:
    """uint8 [H, W, 3] of any size -> float32 [3, 299, 299], by way of the model's size (height, width)."""
    twice = fit(fit(image, size), (SIDE, SIDE))
    return _normalise(twice.astype(np.float32))


def prepare_clean(image: Pixels) -> Floats:
    """uint8 [H, W, 3] of any size -> float32 [3, 299, 299]."""
    channels = [Image.fromarray(np.ascontiguousarray(image[..., place], np.float32)) for place in range(3)]
    resized = [np.asarray(one.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).clip(0, 255) for one in channels]
    return _normalise(np.stack(resized, axis=-1))


def _normalise(levels: Floats) -> Floats:
    scaled = (levels / np.float32(255) - _MEAN) / _DEVIATION
    return np.ascontiguousarray(scaled.transpose(2, 0, 1), np.float32)


class Inception:
    """Prepared images, float32 (N, 3, 299, 299) -> features, float32 (N, 2048)."""

    width = WIDTH

    def __init__(self, weights: Weights, device: torch.device) -> None:
        """Raises CheckpointError, if the file does not hold the network."""
        self._device = device
        with torch.random.fork_rng(devices=()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = _empty_network()
        load_weights(network, weights, lambda name: None if _is_unused(name) else name)
        self._network = network.eval().to(device)

    @torch.inference_mode()
    def __call__(self, images: Floats) -> Floats:
        parts = [images[start : start + AT_ONCE] for start in range(0, len(images), AT_ONCE)]
        features = [self._network(torch.from_numpy(part).to(self._device)).float().cpu().numpy() for part in parts]
        return np.concatenate(features) if features else np.empty((0, WIDTH), np.float32)


def _is_unused(name: str) -> bool:
    """Counters of training, and the head that helps in training."""
    return name.endswith("num_batches_tracked") or name.startswith("AuxLogits.")


def _empty_network() -> nn.Module:
    from torchvision.models import inception_v3

    network: nn.Module = inception_v3(weights=None, transform_input=False, aux_logits=True, init_weights=False)
    network.fc = nn.Identity()
    network.AuxLogits = None  # type: ignore[assignment]  # torchvision allows that, and skips it
    return network
