"""Options of `starcast demo`, `bench`, `evaluate` and `average`. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from starcast import flags
from starcast.errors import OptionError
from starcast.options import CheckedOptions, group, option
from starcast.runtime.options import PRECISIONS, EngineChoice
from starcast.train.families import originals


@dataclass(frozen=True, kw_only=True)
class SubjectOptions(CheckedOptions):
    """Which networks to measure."""

    checkpoint: Path | None = option(
        None, "Checkpoint that BUNDLE was exported from. Default: found beside the bundle or in a run folder there."
    )
    config: str | None = option(
        None, "Measure random weights in the sizes of an original network. "
        + " ".join(f"{name}: {original.title}." for name, (_, original) in originals().items())
        + " BUNDLE, if given, is where the generated bundle is kept, with its GPU engines beside it.",
        flags=("--random-weights",), aliases=("--config",),
        choices=tuple(originals()),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BenchOptions(CheckedOptions):
    """What to measure against eager PyTorch, and how."""

    subject: SubjectOptions = group(SubjectOptions)
    device: str = flags.device()
    quick: bool = option(
        False, "Finish within two minutes: fewer rows, and rounds until time runs out. Random weights are exported "
        "without the gates and without int8, to BUNDLE-quick. On a GPU, fewer samples, rounds and batch sizes.",
    )  # fmt: skip
    rows: tuple[str, ...] = option(
        (), "Rows to measure, by key: eager, compiled, plain-openvino, ours-*. The baseline, eager, is always measured."
    )
    rounds: int = flags.rounds(9)
    batch: int = flags.batch(1)
    batches: tuple[str, ...] = option(
        ("1", "2", "4", "8", "16", "32", "64"), "GPU only: batch sizes to measure throughput at."
    )
    size: str | None = option(
        None, "Size of the images, or one number for a square; default: the training size.", metavar="WIDTHxHEIGHT"
    )
    threads: int | None = flags.threads("Default: as many as this process may use.")
    data: Path | None = option(None, "Data set to take images from; default: the checkpoint's, else generated images.")
    json: Path | None = flags.out(
        None, "a JSON record of the figures, the machine and the versions, with a chart (.png) beside it.",
        aliases=("--json",),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DemoOptions(CheckedOptions):
    """Options of the demo. `make demo` uses the defaults."""

    output: Path = flags.out(Path("demo"), "a folder for data, run, bundle and report.")
    steps: int = flags.steps(600)
    seed: int = flags.seed(777)
    rounds: int = flags.rounds(9)
    fresh: bool = option(False, "Delete what an earlier demo left in the folder, and start over.")


STYLE_MODES = ("latent", "reference")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(EngineChoice):
    """What to evaluate, and how. The defaults are the official StarGAN v2's protocol with one seed."""

    against: Path | None = option(
        None, "Compare with this checkpoint or bundle, which is evaluated too, or with its finished report.",
        metavar="MODEL|REPORT",
    )  # fmt: skip
    against_backend: str | None = option(
        None, "Engine for --against, if that is a bundle. Default: --backend.", metavar="NAME"
    )
    against_precision: str | None = option(
        None, "Precision of --against, if that is a bundle. Default: --precision.", choices=("auto", *PRECISIONS)
    )
    training: Path | None = option(
        None, "Folder of the training images, if they are not in DATA. DATA then needs no held-out folders.",
        flags=("--train",), metavar="DIR",
    )  # fmt: skip
    domains: tuple[str, ...] = flags.domains("Official files do not store them. Default: the model's own names.")
    attributes: tuple[str, ...] = flags.attributes("For official StarGAN v1 files, which do not store them.")
    modes: tuple[str, ...] = option(
        STYLE_MODES, "Where styles come from: latent, reference, or both.", metavar="MODE,…"
    )
    seeds: tuple[str, ...] = flags.seeds(
        "With several, the report has each figure's mean and standard deviation. The paper uses ten.", ("0",)
    )
    outputs: int = option(10, "Number of outputs for each image and target domain.", minimum=1, maximum=100)
    generate: int | None = option(
        None, "Number of images, for a model that takes no source. Default: as many as DATA has training images.",
        minimum=2, maximum=10_000_000,
    )  # fmt: skip
    batch: int = flags.batch(32, "LPIPS is averaged over batches, as in the official code.", maximum=1024)
    clean: bool = option(
        True, "Also compute clean FID and KID, from images resized once, in float. --no-clean saves nearly half of the "
        "time.",
    )  # fmt: skip
    device: str = flags.device()
    weights: Path | None = option(
        None,
        "Folder with the weights of Inception and AlexNet, and of TensorFlow's Inception for the usual FID; default: "
        "torch's cache.",
        metavar="DIR",
    )
    download: bool = flags.download()
    overwrite: bool = flags.overwrite("By default, a finished report of the same evaluation is shown again.")

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [mode for mode in self.modes if mode not in STYLE_MODES]
        if unknown or not self.modes:
            raise OptionError(f"--modes is {','.join(self.modes)!r}: give {', '.join(STYLE_MODES)}, or both")


@dataclass(frozen=True, kw_only=True)
class AverageOptions(CheckedOptions):
    """Which checkpoints to average, and how."""

    last: int | None = option(
        None, "Use only the newest N checkpoints of each folder, and the last N of the named files.", minimum=1,
        metavar="N",
    )  # fmt: skip
    weights: tuple[float, ...] = option(
        (), "Share of each checkpoint, oldest first or in the order given. Default: equal shares.", metavar="1,1,2,…"
    )
    greedy: bool = option(
        False, "Start from the best checkpoint, and add another only if the average gets better. Judged on held-out "
        "images: by LPIPS to references or, for a set from `starcast dataset make`, by its own measures.",
    )  # fmt: skip
    data: Path | None = option(
        None, "Data set to take images from; default: the training data. For the sheets and for --greedy."
    )
    lpips_weights: Path | None = option(
        None, "Folder with the weights of AlexNet, for --greedy; default: torch's cache.", metavar="DIR"
    )
    download: bool = flags.download()
    sheets: bool = option(True, "Draw sheets that show every checkpoint and the average side by side.")
    overwrite: bool = flags.overwrite()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.greedy and (self.download or self.lpips_weights is not None):
            given = "--download" if self.lpips_weights is None else "--lpips-weights"
            raise OptionError(f"{given} is for the network that --greedy judges by: add --greedy, or leave it out")
