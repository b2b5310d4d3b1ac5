"""StyleGAN2's options. The defaults are those of the paper's 256 px networks.

Imports no torch: `--help` is built from these classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from starcast import flags
from starcast.errors import OptionError
from starcast.options import group, option
from starcast.train.options import (
    CourseOptions,
    DeviceOptions,
    ImageOptions,
    LossOptions,
    NetworkOptions,
    OptimizerOptions,
    Original,
    OutputOptions,
    TrainOptions,
)


@dataclass(frozen=True, kw_only=True)
class StyleGAN2Network(NetworkOptions):
    """What decides the shapes of the networks, and how a style is truncated.

    The layers at the image's full size have `2 * capacity` channels. Every halving of the image doubles them, up to
    `max_channels`. `widths` states them one by one instead.
    """

    image_size: int = option(256, "Height and width of an image in pixels, a power of two.", minimum=8, maximum=4096)
    channels: int = option(
        3, "Colour channels of an image: 1 (grey), 3 (RGB) or 4 (RGB and opacity).", minimum=1, maximum=4
    )
    latent_dim: int = option(512, "Length of a latent vector, and of a style.", minimum=1)
    mapping_depth: int = option(8, "Number of layers of the mapping network.", minimum=1)
    mapping_rate: float = option(
        0.01, "Learning rate of the mapping network, as a share of the generator's.", minimum=1e-6, maximum=1.0
    )
    capacity: int = option(32, "Width of the networks: 2 * CAPACITY channels at the image's full size.", minimum=1)
    max_channels: int = option(512, "Maximum number of channels in a layer.", minimum=1)
    widths: tuple[int, ...] = option(
        (), "Channels at 4x4, 8x8 and so on up to the image's size, instead of --capacity and --max-channels."
    )
    discriminator_widths: tuple[int, ...] = option((), "--widths of the discriminator. Default: as in the generator.")
    resampling: str = option(
        "transposed",
        "How layers change the size. transposed: convolutions of stride 2, as in the paper; bilinear: interpolation "
        "before each convolution, which then costs four times as much.",
        choices=("transposed", "bilinear"),
    )
    fir_filter: tuple[float, ...] = option(
        (1.0, 3.0, 3.0, 1.0), "Taps of the smoothing filter for resampling; must be symmetric."
    )
    tanh: bool = option(False, "Bound the generator's output to -1..1 with a tanh.")
    deviation_group: int = option(
        4, "Images in each group of the discriminator's minibatch standard deviation.", minimum=1
    )
    deviation_channels: int = option(
        1, "Channels of minibatch standard deviation in the discriminator; 0: none.", minimum=0
    )
    mean_style: str = option(
        "average",
        "Mean style that --psi pulls towards. average: running mean of the styles in training; samples: mean of "
        "--mean-samples styles of the finished mapping network.",
        choices=("average", "samples"),
    )
    mean_samples: int = option(20_000, "Number of styles that `--mean-style samples` averages.", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size & (self.image_size - 1):
            raise OptionError(f"--image-size is {self.image_size}: give a power of two of at least 8")
        if self.channels == 2:
            raise OptionError("--channels is 2: give 1 (grey), 3 (RGB) or 4 (RGB and opacity)")
        _check_widths("--widths", self.widths, self.image_size)
        _check_widths("--discriminator-widths", self.discriminator_widths, self.image_size)
        taps = self.fir_filter
        if not 2 <= len(taps) <= 8 or taps != taps[::-1] or not sum(taps) > 0:
            raise OptionError(
                f"--fir-filter is {_in_words(taps)}: give two to eight taps, the same from both ends, such as 1,3,3,1"
            )
        last = self.discriminator_sizes[4]
        if self.deviation_channels and last % self.deviation_channels:
            raise OptionError(
                f"--deviation-channels is {self.deviation_channels}: give a divisor of {last}, the discriminator's "
                "channels at 4x4"
            )

    @property
    def sizes(self) -> dict[int, int]:
        """Channels of the layers at each size: 4 -> 512, 8 -> 512 … image_size -> 2 * capacity."""
        sides = [4 << halvings for halvings in range(self.image_size.bit_length() - 2)]
        if self.widths:
            return dict(zip(sides, self.widths, strict=True))
        return {side: min(2 * self.capacity * self.image_size // side, self.max_channels) for side in sides}

    @property
    def discriminator_sizes(self) -> dict[int, int]:
        """Channels of the discriminator's layers at each size."""
        widths = self.discriminator_widths
        return dict(zip(self.sizes, widths, strict=True)) if widths else self.sizes


def _check_widths(flag: str, widths: tuple[int, ...], image_size: int) -> None:
    """Raise OptionError unless there is a positive width for every size, or none at all."""
    count = image_size.bit_length() - 2
    if widths and (len(widths) != count or min(widths) < 1):
        given = ",".join(map(str, widths))
        raise OptionError(f"{flag} is {given}: give {count} positive numbers, from 4x4 to {image_size}x{image_size}")


@dataclass(frozen=True, kw_only=True)
class StyleGAN2Data(ImageOptions):
    """Which images to train on, and how to read them."""

    batch_size: int = flags.batch(32, aliases=("--batch-size",))
    square: str = option(
        "crop", "How images are made square. crop: cut out the centre; stretch: stretch the image.",
        choices=("crop", "stretch"),
    )  # fmt: skip
    flip: bool = option(True, "Mirror images half the time.")


@dataclass(frozen=True, kw_only=True)
class StyleGAN2Course(CourseOptions):
    """How long a run lasts, and how a step is computed and averaged."""

    average_start: int = option(
        0, "Step at which averaging starts; until then, the averaged networks are copies.", minimum=0
    )
    mean_decay: float = option(
        0.995, "Decay of the running mean of styles: the share kept at each step.", minimum=0.0, maximum=1.0
    )
    d_steps: int = option(1, "Discriminator updates for each generator update.", minimum=1)


@dataclass(frozen=True, kw_only=True)
class StyleGAN2Optimizer(OptimizerOptions):
    """Adam's settings. Where a penalty is due only now and then, the rate and the decays are corrected for it."""

    learning_rate: float = option(2e-3, "Adam's learning rate.", minimum=0.0)
    beta1: float = option(0.0, "Adam's decay of the mean gradient.", minimum=0.0, maximum=0.9999)
    beta2: float = option(0.99, "Adam's decay of the mean squared gradient.", minimum=0.0, maximum=0.999999)
    epsilon: float = option(1e-8, "Adam's guard against a division by zero.", minimum=0.0)


@dataclass(frozen=True, kw_only=True)
class StyleGAN2Loss(LossOptions):
    """What training optimises."""

    loss_type: str = option(
        "vanilla", "Adversarial loss. vanilla: logistic, with R1; wgan: Wasserstein, with a gradient penalty.",
        flags=("--loss",), choices=("vanilla", "wgan"),
    )  # fmt: skip
    penalty_weight: float = option(10.0, "Weight of R1 (gamma) or of the gradient penalty; 0: none.", minimum=0.0)
    penalty_every: int = option(
        16, "Compute R1 or the gradient penalty at every Kth step, with K times the weight.", minimum=1, metavar="K"
    )
    path_weight: float = option(2.0, "Weight of the path length penalty; 0: none.", minimum=0.0)
    path_every: int = option(
        4, "Compute path lengths at every Kth step, with K times the weight.", minimum=1, metavar="K"
    )
    path_share: int = option(2, "Compute path lengths on 1/K of a batch.", minimum=1, metavar="K")
    path_decay: float = option(0.01, "Share of a step's path lengths in their running mean.", minimum=0.0, maximum=1.0)
    style_mixing: float = option(
        0.9, "Probability that the styles of two latents are mixed in an update.", minimum=0.0, maximum=1.0
    )


@dataclass(frozen=True, kw_only=True)
class StyleGAN2Output(OutputOptions):
    """What a run writes, and how often."""

    sample_psi: tuple[float, ...] = option((1.0, 0.7), "Strengths of the styles in sample grids; one grid for each.")
    sample_mixing: tuple[float, ...] = option(
        (0.0,), "Probabilities of style mixing in sample grids; one grid for each."
    )
    sample_images: int = option(16, "Images in a sample grid.", minimum=1)
    sample_rows: int = option(4, "Rows of a sample grid.", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sample_psi or not self.sample_mixing:
            raise OptionError("--sample-psi and --sample-mixing need at least one number each")
        if not all(0 <= psi <= 2 for psi in self.sample_psi):
            raise OptionError(f"--sample-psi is {_in_words(self.sample_psi)}: give numbers from 0 to 2")
        if not all(0 <= probability <= 1 for probability in self.sample_mixing):
            raise OptionError(f"--sample-mixing is {_in_words(self.sample_mixing)}: give probabilities, from 0 to 1")


def _in_words(numbers: tuple[float, ...]) -> str:
    return ",".join(f"{number:g}" for number in numbers)


@dataclass(frozen=True, kw_only=True)
class StyleGAN2Options(TrainOptions):
    """All options of a StyleGAN2 run."""

    family: ClassVar[str] = "stylegan2"
    recipes: ClassVar[Path] = Path(__file__).parent / "recipes"
    originals: ClassVar[Mapping[str, Original]] = {
        "stylegan2": Original("rosinality's, 256 px, multiplier 2", {"image_size": 256, "capacity": 64}, ("images",)),
        "stylegan2-bilinear": Original(
            "lukau2357's, 256 px, capacity 8", {"image_size": 256, "resampling": "bilinear", "capacity": 8}, ("images",)
        ),
    }
    help: ClassVar[str] = """Train StyleGAN2 on a folder of images.

    DATA holds images of any size, in the folder itself or in subfolders; those below folders named val or test are held
    out. On Ctrl-C, SIGTERM, a closed terminal or a batch system's signal, the run saves a checkpoint before it ends.

    Example: starcast train photos/ -o run/ --family stylegan2 --image-size 128 --images 2000000
    """

    network: StyleGAN2Network = group(StyleGAN2Network)
    data: StyleGAN2Data = group(StyleGAN2Data)
    course: StyleGAN2Course = group(StyleGAN2Course)
    optimizer: StyleGAN2Optimizer = group(StyleGAN2Optimizer)
    loss: StyleGAN2Loss = group(StyleGAN2Loss)
    machine: DeviceOptions = group(DeviceOptions)
    output: StyleGAN2Output = group(StyleGAN2Output)

    @property
    def images_per_step(self) -> int:
        return self.data.batch_size * self.course.d_steps


OPTIONS = StyleGAN2Options
