"""Options of a training run, in groups. A family subclasses the groups it adds options to.

Imports no torch: `--help` is built from these classes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from starcast import flags
from starcast.errors import OptionError
from starcast.options import CheckedOptions, flag_of, flat_fields, group, option, replace_options, to_flat


@dataclass(frozen=True)
class Original:
    """A model in the sizes that its authors used: what it is in words, the values of its config, and its domains or
    labels."""

    title: str
    config: Mapping[str, Any]
    domain_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(CheckedOptions):
    """What decides the shapes of the networks. A resumed run takes these from its checkpoint and cannot change them."""

    image_size: int = flags.image_size(256)


@dataclass(frozen=True, kw_only=True)
class ImageOptions(CheckedOptions):
    """How training images are read."""

    batch_size: int = flags.batch(8, aliases=("--batch-size",))
    workers: int | None = option(
        None, "Processes that decode images; 0: none. Default: 2, or up to 8 with a GPU. No effect on results.",
        minimum=0,
    )  # fmt: skip
    cache_mb: int = option(
        1024, "Memory for decoded images in MiB, shared by all workers; 0: decode each time.", minimum=0
    )


@dataclass(frozen=True, kw_only=True)
class DataOptions(ImageOptions):
    """Which domains of images to train on, and how to read them."""

    domains: tuple[str, ...] = flags.domains("Each is a subfolder of the data. Default: all, in alphabetical order.")
    crop_probability: float = option(
        0.5, "Probability of cropping an image (to 80-100 % of its area) before resizing it.", minimum=0.0, maximum=1.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.domains)) != len(self.domains):
            raise OptionError(f"--domains names a folder twice: {', '.join(self.domains)}")


@dataclass(frozen=True, kw_only=True)
class CourseOptions(CheckedOptions):
    """How long a run lasts, and how a step is computed and averaged."""

    steps: int = flags.steps(100_000, "A resumed run counts those it already made.")
    epochs: float | None = option(
        None, "Length of the run in passes over the training images; replaces --steps.", minimum=1e-3
    )
    images: int | None = option(
        None, "Length of the run in training images, repeated ones included; replaces --steps.", minimum=1
    )
    seed: int = flags.seed(777)
    average_decay: float = option(
        0.999, "Decay of the averaged networks: the share kept at each step.", minimum=0.0, maximum=1.0
    )
    accumulate: int = option(
        1, "Parts each batch is split into, computed one after the other: less memory, the same step.", minimum=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs is not None and self.images is not None:
            raise OptionError("--epochs and --images both say how long the run lasts: leave one of them out")


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions(CheckedOptions):
    """How the parameters are updated."""

    learning_rate: float = option(1e-4, "Adam's learning rate.", minimum=0.0)


@dataclass(frozen=True, kw_only=True)
class LossOptions(CheckedOptions):
    """What training optimises; each family adds its weights and schedules."""


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(CheckedOptions):
    """Where and how the run computes."""

    device: str = flags.device()
    precision: str = flags.precision(
        "auto", ("auto", "fp32", "bf16"),
        "auto: bf16 on a GPU that supports it, else fp32. On a GPU, fp32 convolutions use TF32.",
    )  # fmt: skip
    compile: bool = option(False, "Compile the networks first: takes minutes, then each step is faster.")
    deterministic: bool = option(
        False, "On CUDA, use only deterministic algorithms (slower). On the CPU, training is always deterministic."
    )


@dataclass(frozen=True, kw_only=True)
class MachineOptions(DeviceOptions):
    """The same for networks with AdaIN."""

    adain: str = option(
        "auto", "Norms: PyTorch's operators or a Triton kernel; auto: the kernel on CUDA if triton is installed.",
        choices=("auto", "reference", "triton"),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class OutputOptions(CheckedOptions):
    """What a run writes, and how often."""

    log_every: int = option(10, "Steps between log entries in losses.jsonl and TensorBoard.", minimum=1)
    sample_every: int = option(1000, "Steps between sample grids; 0: none.", minimum=0)
    snapshot_every: int = option(
        10_000, "Steps between snapshots (averaged networks only, all kept); 0: none.", minimum=0
    )
    save_every: int = option(5000, "Steps between full checkpoints, from which a run can resume.", minimum=1)
    wandb: str | None = option(
        None, "Also log losses, grids and options to a project of Weights & Biases; without a network, to OUT/wandb.",
        metavar="PROJECT",
    )  # fmt: skip
    keep: int = option(3, "Number of full checkpoints to keep, newest first.", minimum=1)


@dataclass(frozen=True, kw_only=True)
class TrainOptions(CheckedOptions):
    """All options of `starcast train`. Each family has a subclass, whose `family` is the family's name."""

    family: ClassVar[str]
    recipes: ClassVar[Path]  # folder of TOML files that `--config NAME` reads
    originals: ClassVar[Mapping[str, Original]]  # by the name that `starcast bench --random-weights` gives them
    help: ClassVar[str] = ""  # what `starcast train --family NAME --help` says first; "": what it says of the default

    network: NetworkOptions = group(NetworkOptions)
    data: ImageOptions = group(DataOptions)
    course: CourseOptions = group(CourseOptions)
    optimizer: OptimizerOptions = group(OptimizerOptions)
    loss: LossOptions = group(LossOptions)
    machine: DeviceOptions = group(MachineOptions)
    output: OutputOptions = group(OutputOptions)

    @property
    def images_per_step(self) -> int:
        """How many training images a step goes through, for `--epochs`."""
        return self.data.batch_size

    def in_steps(self, images: int) -> Self:
        """These options with `steps` in place of `epochs` or `images`: a run stores how far it goes, whatever its
        images are."""
        if self.course.epochs is not None:
            seen = self.course.epochs * images
        elif self.course.images is not None:
            seen = self.course.images
        else:
            return self
        return replace_options(self, steps=math.ceil(seen / self.images_per_step), epochs=None, images=None)


def shape_names(options_class: type[TrainOptions]) -> set[str]:
    """The names of the options that decide the networks' shapes."""
    network = next(field for field in dataclasses.fields(options_class) if field.name == "network")
    return {field.name for field, _ in flat_fields(network.metadata["group"])}


def check_same_family(name: str, trained: TrainOptions, origin: str) -> None:
    """Raise OptionError unless `origin` holds a run of the family `name`."""
    if name != trained.family:
        raise OptionError(f"{origin} belongs to family {trained.family!r}: resume it with --family {trained.family}")


def check_same_shapes(options: TrainOptions, trained: TrainOptions, origin: str) -> None:
    """Raise OptionError if `options` asks for networks of other shapes than those in `origin`."""
    check_same_family(options.family, trained, origin)
    refuse_other_shapes(options, to_flat(trained.network), origin, "leave the option out to resume, or start a new run")


def refuse_other_shapes(options: TrainOptions, before: Mapping[str, Any], origin: str, way_out: str) -> None:
    """Raise OptionError if `options` differs from the shapes `before`, by name, that `origin` was trained with."""
    flags_of = {field.name: flag_of(field) for field, _ in flat_fields(type(options.network))}
    for name, wanted in to_flat(options.network).items():
        if wanted != before[name]:
            raise OptionError(f"{flags_of[name]} is {wanted}, but {origin} was trained with {before[name]}: {way_out}")
