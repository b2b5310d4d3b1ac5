"""StyleGAN2's options. The defaults are those of the paper's 256 px networks.

Imports no torch: `--help` is built from these classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from starcast.errors import OptionError
from starcast.options import group, option
from starcast.train.options import (
    NetworkOptions,
    TrainOptions,
)


@dataclass(frozen=True, kw_only=True)
class StyleGAN2Network(NetworkOptions):
    """What decides the shapes of the networks, and how a style is truncated.

    The layers at the image's full size have `2 * capacity` channels. Every halving of the image doubles them, up to
    `max_channels`. `widths` states them one by one instead.
    """

    image_size: int = option(256, "Height and width of an image in pixels, a power of two.", minimum=8)
    channels: int = option(
        3, "Colour channels of an image: 1 (grey), 3 (RGB) or 4 (RGB and opacity).", minimum=1, maximum=4
    )
    latent_dim: int = option(512, "Length of a latent vector, and of a style.", minimum=1)
    mapping_depth: int = option(8, "Number of layers of the mapping network.", minimum=1)
    mapping_rate: float = option(
        0.01, "The mapping network learns at this share of the generator's rate.", minimum=1e-6, maximum=1.0
    )
    capacity: int = option(32, "Width of the networks: 2 * CAPACITY channels at the image's full size.", minimum=1)
    max_channels: int = option(512, "Maximum number of channels in a layer.", minimum=1)
    widths: tuple[int, ...] = option(
        (), "Channels at 4x4, 8x8 and so on up to the image's size, instead of --capacity and --max-channels."
    )
    resampling: str = option(
        "transposed",
        "How the size changes. transposed: by convolutions of stride 2, as in the paper; bilinear: by interpolation "
        "before a convolution, which costs four times as much there.",
        choices=("transposed", "bilinear"),
    )
    fir_filter: tuple[float, ...] = option(
        (1.0, 3.0, 3.0, 1.0), "Taps of the filter that smooths what is resampled, symmetric."
    )
    tanh: bool = option(False, "Bound the generator's output to -1..1 with a tanh.")
    deviation_group: int = option(
        4, "Images that the discriminator compares with each other (minibatch standard deviation).", minimum=1
    )
    deviation_channels: int = option(
        1, "Channels in which the discriminator sees how much those images differ; 0: none.", minimum=0
    )
    mean_style: str = option(
        "average",
        "The mean style that --psi pulls to. average: a running mean of the styles of the training; samples: the mean "
        "of --mean-samples styles of the finished mapping network.",
        choices=("average", "samples"),
    )
    mean_samples: int = option(20_000, "Styles that `--mean-style samples` averages.", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size & (self.image_size - 1):
            raise OptionError(f"--image-size is {self.image_size}: give a power of two of at least 8")
        if self.channels == 2:
            raise OptionError("--channels is 2: give 1 (grey), 3 (RGB) or 4 (RGB and opacity)")
        check_widths("--widths", self.widths, self.image_size)
        taps = self.fir_filter
        if not 2 <= len(taps) <= 8 or taps != taps[::-1] or not sum(taps) > 0:
            given = ",".join(f"{tap:g}" for tap in taps)
            raise OptionError(
                f"--fir-filter is {given}: give two to eight taps that are the same from both ends, such as 1,3,3,1"
            )
        if self.deviation_channels and self.last_channels % self.deviation_channels:
            raise OptionError(
                f"--deviation-channels is {self.deviation_channels}: give a divisor of {self.last_channels}, the "
                "discriminator's channels at 4x4"
            )

    @property
    def sizes(self) -> dict[int, int]:
        """Channels of the layers at each size: 4 -> 512, 8 -> 512 … image_size -> 2 * capacity."""
        sides = [4 << halvings for halvings in range(self.image_size.bit_length() - 2)]
        if self.widths:
            return dict(zip(sides, self.widths, strict=True))
        return {side: min(2 * self.capacity * self.image_size // side, self.max_channels) for side in sides}

    @property
    def last_channels(self) -> int:
        """The discriminator's channels at 4x4."""
        return self.sizes[4]


def check_widths(flag: str, widths: tuple[int, ...], image_size: int) -> None:
    """Raise OptionError unless there is a positive width for every size, or none at all."""
    count = image_size.bit_length() - 2
    if widths and (len(widths) != count or min(widths) < 1):
        given = ",".join(map(str, widths))
        raise OptionError(f"{flag} is {given}: give {count} positive numbers, from 4x4 to {image_size}x{image_size}")


@dataclass(frozen=True, kw_only=True)
class StyleGAN2Options(TrainOptions):
    """All options of a StyleGAN2 run."""

    family: ClassVar[str] = "stylegan2"
    recipes: ClassVar[Path] = Path(__file__).parent / "recipes"

    network: StyleGAN2Network = group(StyleGAN2Network)


OPTIONS = StyleGAN2Options
