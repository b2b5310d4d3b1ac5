"""StarGAN v2's options. The defaults are the official AFHQ recipe's, except for lambda_ds (1; AFHQ has 2).

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
from starcast.train.options import DataOptions, LossOptions, NetworkOptions, OptimizerOptions, Original, TrainOptions


@dataclass(frozen=True, kw_only=True)
class StarGANv2Network(NetworkOptions):
    """What decides the shapes of the four networks, apart from the number of domains.

    The first layers have `channel_base // image_size` channels, which `max_channels` does not limit. Every halving of
    the image doubles them, up to `max_channels`.
    """

    channel_base: int = option(
        2**14, "Width of the networks: the first layer has CHANNEL_BASE / IMAGE_SIZE channels.", minimum=32
    )
    max_channels: int = option(512, "Maximum number of channels in a layer.", minimum=1)
    style_dim: int = option(64, "Length of a style vector.", minimum=1)
    latent_dim: int = option(16, "Length of a latent vector.", minimum=1)
    mapping_width: int = option(512, "Width of the mapping network's hidden layers.", minimum=1)
    high_pass: float = option(
        0.0, "Above 0, train a face model, which keeps the fine detail of the source's eyes, nose and mouth; a larger "
        "number keeps less. The official --w_hpf: 1 for CelebA-HQ.", minimum=0.0, maximum=1e4, metavar="W",
        aliases=("--w_hpf", "--w-hpf"),
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size & (self.image_size - 1):
            raise OptionError(f"--image-size is {self.image_size}: give a power of two of at least 32")
        if self.channel_base < self.image_size:
            raise OptionError(
                f"--channel-base is {self.channel_base}, which leaves no channel at --image-size {self.image_size}: "
                f"give at least {self.image_size}"
            )


@dataclass(frozen=True, kw_only=True)
class StarGANv2Data(DataOptions):
    """The images, and a face model's landmark network."""

    landmarks: Path | None = flags.landmarks("Not needed to resume, or to start from a checkpoint that has them.")


@dataclass(frozen=True, kw_only=True)
class StarGANv2Optimizer(OptimizerOptions):
    """Adam's settings for the four networks."""

    learning_rate: float = option(
        1e-4, "Adam's learning rate for the generator, style encoder and discriminator.", minimum=0.0
    )
    mapping_learning_rate: float = option(1e-6, "Adam's learning rate for the mapping network.", minimum=0.0)
    beta1: float = option(0.0, "Adam's decay of the mean gradient.", minimum=0.0, maximum=0.9999)
    beta2: float = option(0.99, "Adam's decay of the mean squared gradient.", minimum=0.0, maximum=0.999999)
    weight_decay: float = option(1e-4, "L2 penalty, added to the gradient.", minimum=0.0)


@dataclass(frozen=True, kw_only=True)
class StarGANv2Loss(LossOptions):
    """Weights of the loss terms."""

    lambda_reg: float = option(1.0, "Weight of the R1 penalty.", minimum=0.0)
    lambda_sty: float = option(1.0, "Weight of the style reconstruction loss.", minimum=0.0)
    lambda_cyc: float = option(1.0, "Weight of the cycle consistency loss.", minimum=0.0)
    lambda_ds: float = option(1.0, "Weight of the diversity loss at step 0 (official: 2 for animals).", minimum=0.0)
    ds_steps: int = option(100_000, "Steps until the diversity weight has fallen linearly to 0.", minimum=1)
    r1_every: int = option(1, "Apply R1 only at every Kth step, with K times the weight.", minimum=1, metavar="K")


@dataclass(frozen=True, kw_only=True)
class StarGANv2Options(TrainOptions):
    """All options of a StarGAN v2 run."""

    family: ClassVar[str] = "stargan_v2"
    recipes: ClassVar[Path] = Path(__file__).parent / "recipes"
    originals: ClassVar[Mapping[str, Original]] = {
        "afhq": Original("StarGAN v2, 256 px", {"image_size": 256, "domains": 3}, ("cat", "dog", "wild")),
        "celeba-hq": Original(
            "StarGAN v2 for faces, 256 px", {"image_size": 256, "domains": 2, "high_pass": 1.0}, ("female", "male")
        ),
    }

    network: StarGANv2Network = group(StarGANv2Network)
    data: StarGANv2Data = group(StarGANv2Data)
    optimizer: StarGANv2Optimizer = group(StarGANv2Optimizer)
    loss: StarGANv2Loss = group(StarGANv2Loss)


OPTIONS = StarGANv2Options
