"""LPIPS between the outputs of one source: how different AlexNet finds them, with the `lpips` package's weights.

The package runs AlexNet twice for each pair. With ten outputs that is 90 passes per source instead of ten, so only its
layers are used here: the features are computed once per output.
"""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from starcast.benchmarks.quality.weights import Weights, load_weights


class Lpips:
    """Distances of version 0.1 with AlexNet (Zhang et al. 2018), as the official StarGAN v2 measures diversity."""

    def __init__(self, weights: Weights, device: torch.device) -> None:
        """Raises CheckpointError, if the file does not hold AlexNet's weights."""
        import lpips

        self._device = device
        with torch.random.fork_rng(devices=()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package calls torchvision in an old way
            self._judge = lpips.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
        # slice2.3.weight of the package is features.3.weight of torchvision
        load_weights(self._judge.net, weights, lambda name: f"features.{name.partition('.')[2]}")
        self._judge.eval().to(device)

    @torch.inference_mode()
    def __call__(self, outputs: Tensor) -> NDArray[np.float64]:
        """Outputs (O, N, 3, H, W) in -1..1, O for each of N sources -> the distances of all pairs (N, O * (O - 1) / 2),
        in the order of itertools.combinations."""
        columns = [self._of_one_source(outputs[:, place]) for place in range(outputs.shape[1])]
        return np.stack(columns)

    def _of_one_source(self, outputs: Tensor) -> NDArray[np.float64]:
        import lpips

        layers = self._judge.net(self._judge.scaling_layer(outputs.to(self._device)))
        pairs = list(itertools.combinations(range(len(outputs)), 2))
        total = torch.zeros(len(pairs), dtype=torch.float64)
        for layer, head in zip(layers, self._judge.lins, strict=True):
            features = lpips.normalize_tensor(layer)
            distances: list[Tensor] = []
            for first in range(len(outputs) - 1):
                squares = (features[first + 1 :] - features[first]) ** 2
                distances.append(head(squares).mean(dim=(1, 2, 3)))
            total += torch.cat(distances).cpu().double()
        return np.asarray(total.numpy(), np.float64)
