"""How much longer than our baseline do the original StyleGAN2 programs take? CPU seconds per image, on one thread.

    python -m starcast.benchmarks.studies.original_generator -o original-generator.json

The baseline of `starcast bench` is the network that starcast trains, in eager PyTorch. If the programs of rosinality
and lukau2357 were faster on a CPU, the table's ratios would look better than they are. Both programs scale the weights
by each image's style, and run a convolution with one group per image. rosinality's filters treat every channel as a
separate image. This file repeats those computations with our weights, and fails if the images differ.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor
from torch.nn import functional as F

from starcast import flags
from starcast.benchmarks.bench.random_weights import original_config, random_networks
from starcast.benchmarks.record import provenance, write_result
from starcast.click_options import options_from
from starcast.options import CheckedOptions
from starcast.train.families.stylegan2.layers import EPS, SLOPE, ModulatedConv, equalized

PROGRAM = "python -m starcast.benchmarks.studies.original_generator"
MOST_APART = 1e-4  # of images in -1..1
LAYOUTS = {"stylegan2": "rosinality's layout", "stylegan2-bilinear": "lukau2357's layout"}


@dataclass(frozen=True, kw_only=True)
class OriginalOptions(CheckedOptions):
    """How to compare."""

    rounds: int = flags.rounds(15)
    json: Path | None = flags.out(
        None, "a JSON record of the figures, the machine and the versions.", aliases=("--json",)
    )


@dataclass(frozen=True)
class Original:
    """A generator's weights computed as in an original. `transposed`: rosinality's, otherwise lukau2357's."""

    generator: Any
    taps: Sequence[float]
    transposed: bool

    def __call__(self, styles: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """styles (N, layers, L), the noise of each layer (N or 1, 1, h, w) -> images (N, C, S, S)."""
        network, style = self.generator, styles.unbind(1)
        x = self._styled(network.first, network.start.repeat(len(styles), 1, 1, 1), style[0], noise[0], up=False)
        image = self._colours(network.to_image[0], x, style[1])
        for number, (up, conv) in enumerate(zip(network.ups, network.convs, strict=True), start=1):
            x = self._styled(up, x, style[2 * number - 1], noise[2 * number - 1], up=True)
            x = self._styled(conv, x, style[2 * number], noise[2 * number], up=False)
            image = self._enlarge(image) + self._colours(network.to_image[number], x, style[2 * number + 1])
        return image

    def _styled(self, layer: Any, x: Tensor, style: Tensor, noise: Tensor, *, up: bool) -> Tensor:
        x = self._convolve(layer.conv, x, style, up=up) + layer.noise_strength * noise
        return F.leaky_relu(x + layer.bias.view(1, -1, 1, 1), SLOPE) * math.sqrt(2)

    def _colours(self, layer: Any, x: Tensor, style: Tensor) -> Tensor:
        colours: Tensor = self._convolve(layer.conv, x, style, up=False) + layer.bias.view(1, -1, 1, 1)
        return colours

    def _convolve(self, layer: ModulatedConv, x: Tensor, style: Tensor, *, up: bool) -> Tensor:
        """A convolution whose weights are scaled for each image."""
        count, channels, height, width = x.shape
        weight = equalized(layer.weight)[None] * layer.affine(style).view(count, 1, channels, 1, 1)
        made, side = weight.shape[1], weight.shape[3]
        if layer.demodulate:
            weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4)) + EPS).view(count, made, 1, 1, 1)
        if up and self.transposed:
            weight = weight.transpose(1, 2).reshape(count * channels, made, side, side)
            spread = F.conv_transpose2d(x.reshape(1, -1, height, width), weight, stride=2, groups=count)
            return _filter_planes(spread.view(count, made, *spread.shape[2:]), self._kernel(4), 1, 1)
        x = self._enlarge(x) if up else x
        weight = weight.view(count * made, channels, side, side)
        convolved = F.conv2d(x.reshape(1, -1, *x.shape[2:]), weight, padding=side // 2, groups=count)
        return convolved.view(count, made, *convolved.shape[2:])

    def _enlarge(self, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        if not self.transposed:
            x = F.pad(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False), (1, 2, 1, 2))
            return F.conv2d(x, self._kernel(1)[None, None].expand(channels, 1, -1, -1), groups=channels)
        spread = F.pad(x.view(-1, height, 1, width, 1), (0, 1, 0, 0, 0, 1))
        return _filter_planes(spread.view(count, channels, 2 * height, 2 * width), self._kernel(4), 2, 1)

    def _kernel(self, gain: float) -> Tensor:
        taps = torch.tensor(self.taps, dtype=self.generator.start.dtype)
        return gain * taps[:, None] * taps / taps.sum() ** 2


def _filter_planes(x: Tensor, kernel: Tensor, before: int, after: int) -> Tensor:
    """A filter over every channel, each as an image of its own."""
    planes = F.pad(x.reshape(-1, 1, *x.shape[2:]), (before, after, before, after))
    return F.conv2d(planes, kernel[None, None]).view(*x.shape[:2], -1, planes.shape[3] - len(kernel) + 1)


def measure(name: str, rounds: int) -> dict[str, Any]:
    """CPU seconds of the original and the baseline in each round, and their ratio."""
    config, _ = original_config(name)
    networks = random_networks(config)
    network = networks.generator
    original = Original(network, config.fir_filter, config.resampling == "transposed")
    latent = torch.randn(1, config.latent_dim, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        styles = networks.mapping_network(latent)[:, None].expand(-1, config.layers, -1)
        apart = float((original(styles, network.stored_noise) - network(styles)).abs().max())
        assert apart <= MOST_APART, f"{name}: original and baseline differ by {apart:.1e}"
        theirs, ours = [], []
        for _ in range(rounds):
            theirs.append(_cpu_seconds(lambda: original(styles, network.stored_noise)))
            ours.append(_cpu_seconds(lambda: network(styles)))
    ratios = [one / other for one, other in zip(theirs, ours, strict=True)]
    return {
        "name": LAYOUTS[name],
        "original_seconds": [round(value, 4) for value in theirs],
        "baseline_seconds": [round(value, 4) for value in ours],
        "original_vs_baseline": {
            "median": round(statistics.median(ratios), 3),
            "least": round(min(ratios), 3),
            "greatest": round(max(ratios), 3),
        },
        "images_apart": apart,
    }


def _cpu_seconds(run: Callable[[], object]) -> float:
    """CPU seconds of a run, after one that is not timed."""
    run()
    start = time.process_time()
    run()
    return time.process_time() - start


@click.command()
@options_from(OriginalOptions)
def original_generator(**values: Any) -> None:
    """Compare the baseline of StyleGAN2's benchmarks with the originals' computation."""
    wanted = OriginalOptions(**values)
    torch.set_num_threads(1)
    rows = [measure(name, wanted.rounds) for name in LAYOUTS]
    for row in rows:
        click.echo(f"{row['name']}: the original takes {row['original_vs_baseline']['median']:.2f} times as long")
    if wanted.json is not None:
        question = "how many CPU seconds does an image take in the original's computation, compared with the baseline?"
        write_result(
            wanted.json, {"question": question, "machine": provenance(threads=1, program=PROGRAM), "rows": rows}
        )


if __name__ == "__main__":
    original_generator()
