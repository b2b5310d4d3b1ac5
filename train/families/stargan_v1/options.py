"""StarGAN v1's options. The defaults are the official ones, with a step of five updates of the discriminator and one
of the generator: 40,000 steps are the official 200,000 iterations.

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
    DataOptions,
    LossOptions,
    NetworkOptions,
    OptimizerOptions,
    Original,
    TrainOptions,
)

STRIDE = 4  # the generator halves the image twice
CELEBA = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")  # the official program's attributes


@dataclass(frozen=True, kw_only=True)
class StarGANv1Network(NetworkOptions):
    """What decides the shapes of both networks, apart from the labels."""

    image_size: int = option(128, "Height and width of an image in pixels, a multiple of 4.", minimum=8)
    generator_width: int = option(64, "Channels of the generator's first layer.", minimum=1)
    discriminator_width: int = option(64, "Channels of the discriminator's first layer; each layer doubles them.",
                                      minimum=1)  # fmt: skip
    residual_blocks: int = option(6, "Residual blocks in the middle of the generator.", minimum=0, maximum=64)
    discriminator_layers: int = option(6, "Layers of the discriminator; each halves the image.", minimum=1, maximum=12)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size % STRIDE:
            raise OptionError(f"--image-size is {self.image_size}: give a multiple of {STRIDE}")
        if self.image_size >> self.discriminator_layers < 1:
            raise OptionError(
                f"--discriminator-layers is {self.discriminator_layers}, which leaves no pixel of --image-size "
                f"{self.image_size}: give at most {self.image_size.bit_length() - 1}"
            )


@dataclass(frozen=True, kw_only=True)
class StarGANv1Data(DataOptions):
    """Which images to train on, and where their labels come from."""

    batch_size: int = flags.batch(16, "Each update of the discriminator gets a new one.", aliases=("--batch-size",))
    crop_probability: float = option(
        0.0, "Probability of cropping an image (to 80-100 % of its area) before resizing it.", minimum=0.0, maximum=1.0
    )
    crop_size: int | None = option(
        None, "Side of the central square to train on, in pixels (official: 178 for CelebA). Default: the largest "
        "square.", minimum=1,
    )  # fmt: skip
    attributes: tuple[str, ...] = option(
        (), "Attributes to train on, named as in --list, in the order of the labels. Default: one label per folder.",
        metavar="NAME,…",
    )  # fmt: skip
    attribute_list: Path | None = option(
        None, "List of attributes, a row per image: CelebA's list_attr_celeba.txt, or CSV. Default: the one in DATA "
        "or beside it.", flags=("--list",), metavar="FILE",
    )  # fmt: skip
    list_images: Path | None = option(
        None, "Folder of the images in --list. Then DATA's folders are a second set, trained at the same time. "
        "Default: DATA itself.", metavar="DIR",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.attributes)) != len(self.attributes):
            raise OptionError(f"--attributes names one twice: {', '.join(self.attributes)}")
        if not self.attributes and (self.attribute_list is not None or self.list_images is not None):
            raise OptionError("--list has many attributes: say with --attributes which to train")
        if self.attributes and self.domains and self.list_images is None:
            raise OptionError(
                "--attributes and --domains exclude each other, unless --list-images says where the images with "
                "attributes are, beside the folders of DATA"
            )

    @property
    def sets(self) -> int:
        """How many sets of images are trained at the same time: one, or one by list and one by folders."""
        return 2 if self.attributes and self.list_images is not None else 1


@dataclass(frozen=True, kw_only=True)
class StarGANv1Course(CourseOptions):
    """How long a run lasts, and how a step is computed."""

    steps: int = flags.steps(40_000, "A resumed run counts those it already made.")
    average_decay: float = option(
        0.0, "Decay of the averaged generator: the share kept at each step; 0: no average, as in the original.",
        minimum=0.0, maximum=1.0,
    )  # fmt: skip
    d_steps: int = option(5, "Discriminator updates before each generator update.", minimum=1)


@dataclass(frozen=True, kw_only=True)
class StarGANv1Optimizer(OptimizerOptions):
    """Adam's settings for both networks, and how the learning rates fall."""

    learning_rate: float = option(1e-4, "Adam's learning rate for the generator.", minimum=0.0)
    d_learning_rate: float = option(1e-4, "Adam's learning rate for the discriminator.", minimum=0.0)
    beta1: float = option(0.5, "Adam's decay of the mean gradient.", minimum=0.0, maximum=0.9999)
    beta2: float = option(0.999, "Adam's decay of the mean squared gradient.", minimum=0.0, maximum=0.999999)
    decay_start: int = option(20_000, "Step at which the learning rates start to fall linearly.", minimum=0)
    decay_steps: int = option(20_000, "Steps over which the learning rates fall to 0; 0: constant rates.", minimum=0)


@dataclass(frozen=True, kw_only=True)
class StarGANv1Loss(LossOptions):
    """Weights of the loss terms."""

    lambda_cls: float = option(1.0, "Weight of the classification loss.", minimum=0.0)
    lambda_rec: float = option(10.0, "Weight of the reconstruction loss.", minimum=0.0)
    lambda_gp: float = option(10.0, "Weight of the gradient penalty.", minimum=0.0)


@dataclass(frozen=True, kw_only=True)
class StarGANv1Options(TrainOptions):
    """All options of a StarGAN v1 run."""

    family: ClassVar[str] = "stargan_v1"
    recipes: ClassVar[Path] = Path(__file__).parent / "recipes"
    originals: ClassVar[Mapping[str, Original]] = {
        f"stargan-v1-{side}": Original(
            f"five attributes, {side} px", {"image_size": side, "attributes": len(CELEBA), "classes": 0}, CELEBA
        )
        for side in (128, 256)
    }

    network: StarGANv1Network = group(StarGANv1Network)
    data: StarGANv1Data = group(StarGANv1Data)
    course: StarGANv1Course = group(StarGANv1Course)
    optimizer: StarGANv1Optimizer = group(StarGANv1Optimizer)
    loss: StarGANv1Loss = group(StarGANv1Loss)

    def __post_init__(self) -> None:
        super().__post_init__()
        adam, steps = self.optimizer, self.course.steps
        end = adam.decay_start + adam.decay_steps
        if self.course.epochs is None and self.course.images is None and adam.decay_steps and steps > end:
            raise OptionError(
                f"a run of {steps} steps would learn nothing after step {end}, where the learning rates are 0: give "
                f"--decay-start {steps - adam.decay_steps if steps > adam.decay_steps else steps // 2} and the same "
                "--decay-steps, or --decay-steps 0 for constant rates"
            )

    @property
    def images_per_step(self) -> int:
        return self.data.batch_size * self.course.d_steps


OPTIONS = StarGANv1Options
