"""Everything a training run can be told, in one frozen class. Imports no torch: `--help` is made from it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starcast import flags
from starcast.errors import OptionError
from starcast.options import CheckedOptions, flag_of, option, read_config

RECIPES = Path(__file__).parent / "recipes"  # options by name, for `--config NAME`

# What decides the shapes of the networks: fixed for the life of a run, so a resumed run takes it from the checkpoint.
SHAPE_FIELDS = ("image_size", "channel_base", "max_channels", "style_dim", "latent_dim", "mapping_width")


@dataclass(frozen=True, kw_only=True)
class TrainOptions(CheckedOptions):
    """Options of `starcast train`. Defaults are the official AFHQ recipe's, but for lambda_ds (1; AFHQ has 2)."""

    # The networks
    image_size: int = flags.image_size(256)
    channel_base: int = option(
        2**14, "Width of the networks: the first layer has CHANNEL_BASE / IMAGE_SIZE channels.", minimum=32
    )
    max_channels: int = option(512, "Most channels that a layer has.", minimum=1)
    style_dim: int = option(64, "Length of a style vector.", minimum=1)
    latent_dim: int = option(16, "Length of a latent vector.", minimum=1)
    mapping_width: int = option(512, "Width of the mapping network's hidden layers.", minimum=1)

    # The data
    domains: tuple[str, ...] = flags.domains("Each is a subfolder of the data. Default: all, in alphabetical order.")
    batch_size: int = flags.batch(8, aliases=("--batch-size",))
    crop_probability: float = option(
        0.5, "How often an image is cropped (80-100 % of its area) before it is resized.", minimum=0.0, maximum=1.0
    )
    workers: int | None = option(
        None, "Processes that decode images beside the training; 0: none; without it 2, and with a card up to 8. No "
        "effect on results.", minimum=0,
    )  # fmt: skip
    cache_mb: int = option(
        1024, "Memory for decoded images, in MiB, shared out among the workers; 0: decode each time.", minimum=0
    )

    # The course of the run
    steps: int = flags.steps(100_000, "A resumed run counts those it already made.")
    seed: int = flags.seed(777)
    learning_rate: float = option(1e-4, "Adam's rate for generator, style encoder and discriminator.", minimum=0.0)
    mapping_learning_rate: float = option(1e-6, "Adam's rate for the mapping network.", minimum=0.0)
    beta1: float = option(0.0, "Adam's decay of the mean gradient.", minimum=0.0, maximum=0.9999)
    beta2: float = option(0.99, "Adam's decay of the mean squared gradient.", minimum=0.0, maximum=0.999999)
    weight_decay: float = option(1e-4, "L2 penalty, added to the gradient.", minimum=0.0)
    lambda_reg: float = option(1.0, "Weight of the R1 penalty.", minimum=0.0)
    lambda_sty: float = option(1.0, "Weight of the style reconstruction.", minimum=0.0)
    lambda_cyc: float = option(1.0, "Weight of the cycle.", minimum=0.0)
    lambda_ds: float = option(1.0, "Weight of the diversity term at step 0 (official: 2 for animals).", minimum=0.0)
    ds_steps: int = option(100_000, "Steps until that weight has fallen to 0, in a straight line.", minimum=1)
    r1_every: int = option(1, "Penalise with R1 at every Kth step only, K times as strongly.", minimum=1, metavar="K")
    average_decay: float = option(
        0.999, "How much of the averaged networks stays at each step.", minimum=0.0, maximum=1.0
    )
    accumulate: int = option(
        1, "Parts a batch is computed in, one after the other: less memory, the same step.", minimum=1
    )

    # The machine
    device: str = flags.device()
    precision: str = flags.precision(
        "auto", ("auto", "fp32", "bf16"),
        "auto: bf16 on a GPU that supports it, else fp32. On a GPU, fp32 convolutions use TF32.",
    )  # fmt: skip
    adain: str = option(
        "auto", "Norms by torch's operators or a Triton kernel; auto: the kernel on CUDA, where triton is installed.",
        choices=("auto", "reference", "triton"),
    )  # fmt: skip
    compile: bool = option(False, "Compile the networks first: minutes at the start, faster steps afterwards.")
    deterministic: bool = option(
        False, "On CUDA too, use only algorithms that give the same bits each time (slower); the CPU always does."
    )

    # What is written
    log_every: int = option(10, "Steps between two lines in losses.jsonl and in TensorBoard.", minimum=1)
    sample_every: int = option(1000, "Steps between two sample grids; 0: none.", minimum=0)
    snapshot_every: int = option(
        10_000, "Steps between two snapshots (averaged networks only, all kept); 0: none.", minimum=0
    )
    save_every: int = option(5000, "Steps between two full checkpoints, from which a run resumes.", minimum=1)
    keep: int = option(3, "Newest full checkpoints that are kept.", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size & (self.image_size - 1):
            raise OptionError(f"--image-size is {self.image_size}: give a power of two of at least 32")
        if self.channel_base < self.image_size:
            raise OptionError(
                f"--channel-base is {self.channel_base}, which leaves no channel at --image-size {self.image_size}: "
                f"give at least {self.image_size}"
            )
        if len(set(self.domains)) != len(self.domains):
            raise OptionError(f"--domains names a folder twice: {', '.join(self.domains)}")


def check_same_shapes(options: TrainOptions, trained: TrainOptions, origin: str) -> None:
    """Raise OptionError where `options` wants other networks than the ones that `origin` holds."""
    for name in SHAPE_FIELDS:
        wanted, there = getattr(options, name), getattr(trained, name)
        if wanted != there:
            raise OptionError(
                f"{flag_of(name)} is {wanted}, but {origin} was trained with {there}: leave the option out to resume, "
                "or start a new run"
            )


def recipe(name: str, **changes: Any) -> TrainOptions:
    """The options of a file in `recipes/`, with some of them replaced."""
    known = {field.name for field in dataclasses.fields(TrainOptions)}
    return TrainOptions(**{**read_config(RECIPES / f"{name}.toml", known), **changes})
