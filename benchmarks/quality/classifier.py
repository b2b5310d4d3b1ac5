"""A small classifier of domains, trained on real images only, which judges translations and generated images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from starcast.export.gate.reference import as_floats

COLOUR_STEPS = 100
PATTERN_STEPS = 240  # shapes take longer to learn than colours
BATCH = 48
LEARNING_RATE = 6e-3
AT_ONCE = 64  # images in one pass, at least; always fewer than twice as many


@dataclass(frozen=True)
class Classifier:
    """images uint8 (N, H, W, 3) -> their domains, int64 (N,), or the last layer's inputs, float64 (N, 64)."""

    network: nn.Sequential
    prepare: Callable[[NDArray[np.uint8]], Tensor]

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        return np.asarray(self._run(self.network, images).argmax(dim=1).numpy(), np.int64)

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        return np.asarray(self._run(self.network[:-1], images).numpy(), np.float64)

    @torch.inference_mode()
    def _run(self, network: nn.Sequential, images: NDArray[np.uint8]) -> Tensor:
        parts = np.array_split(images, max(1, len(images) // AT_ONCE))
        return torch.cat([network(self.prepare(part)) for part in parts])


def train_classifier(
    images: NDArray[np.uint8], domains: NDArray[np.int64], *, seed: int = 0, pattern_only: bool = False
) -> Classifier:
    """Train on images (N, H, W, 3) and their domains (N,), which takes a few seconds on one core.

    With `pattern_only` it sees grey images of equal mean and spread, and must tell stripes from spots by their shape.
    """
    prepare, steps = (_grey, PATTERN_STEPS) if pattern_only else (as_floats, COLOUR_STEPS)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        network = _network(channels=1 if pattern_only else 3, domains=int(domains.max()) + 1)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    targets = torch.from_numpy(domains)
    with _one_thread():
        for _ in range(steps):
            chosen = torch.randint(len(images), (BATCH,), generator=generator)
            loss = F.cross_entropy(network(prepare(images[chosen.numpy()])), targets[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    network.eval()
    return Classifier(network, prepare)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread: layers this small gain nothing from a second, and would wait for it on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _network(channels: int, domains: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (16, 32, 64):
        layers += [nn.Conv2d(channels, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, domains))


def _grey(images: NDArray[np.uint8]) -> Tensor:
    grey = as_floats(images).mean(dim=1, keepdim=True)
    spread, mean = torch.std_mean(grey, dim=(2, 3), keepdim=True)
    return (grey - mean) / (spread + 1e-3)
