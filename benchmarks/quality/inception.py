"""Features of Inception v3, for images prepared in one of three ways.

official   to the model's size, then to 299 px: Pillow's antialiased bilinear, rounded to bytes after each, as the
           official StarGAN v2 does it
clean      to 299 px at once: Pillow's bicubic in float, channel by channel, not rounded (Parmar et al. 2022)
usual      bytes at the model's size; the network resizes them to 299 px as TensorFlow 1 does

The first two end by normalising with ImageNet's mean and deviation, for torchvision's network and weights. The third is
for TensorFlow's network of 2015, which most papers use and torch-fidelity provides. Distances from the two networks are
not comparable. The features are the 2,048 pooled ones.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from starcast.benchmarks.quality.weights import Weights, load_weights, read_weights
from starcast.errors import CheckpointError, printable
from starcast.images.fit import fit

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Prepare = Callable[[Pixels], NDArray[Any]]  # uint8 [H, W, 3] -> what a network takes, [3, h, w]

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


def prepare_usual(image: Pixels, size: tuple[int, int]) -> Pixels:
    """uint8 [H, W, 3] of any size -> uint8 [3, h, w] of the model's size (height, width)."""
    return np.ascontiguousarray(fit(image, size).transpose(2, 0, 1))


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


class TensorFlowInception:
    """Images as bytes, uint8 (N, 3, H, W) -> features, float32 (N, 2048)."""

    width = WIDTH

    def __init__(self, weights: Weights, device: torch.device) -> None:
        """Raises CheckpointError, if the file does not hold the network, and ModuleNotFoundError without
        torch-fidelity."""
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        # it would run code from the user's file; a copy of the tensors alone holds none
        copy = io.BytesIO()
        torch.save({name: value for name, value in read_weights(weights).items() if isinstance(value, Tensor)}, copy)
        copy.seek(0)
        self._device = device
        try:
            with torch.random.fork_rng(devices=()):
                network = FeatureExtractorInceptionV3("inception-v3-compat", [str(WIDTH)], copy)
        except RuntimeError as error:  # load_state_dict's
            raise CheckpointError(
                f"{printable(weights.path)} does not hold the weights of {weights.file.network}: replace the file"
            ) from error
        self._network = network.to(device)

    @torch.inference_mode()
    def __call__(self, images: Pixels) -> Floats:
        parts = [images[start : start + AT_ONCE] for start in range(0, len(images), AT_ONCE)]
        features = [self._network(torch.from_numpy(part).to(self._device))[0].cpu().numpy() for part in parts]
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
