"""Options of `starcast demo` and `starcast bench`. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from starcast import flags
from starcast.options import CheckedOptions, group, option


@dataclass(frozen=True, kw_only=True)
class SubjectOptions(CheckedOptions):
    """Which networks to measure."""

    checkpoint: Path | None = option(
        None, "Checkpoint that BUNDLE was exported from. Default: found beside the bundle or in a run folder there."
    )
    config: str | None = option(
        None, "Measure random weights at full size (AFHQ: 256 px). BUNDLE, if given, is where the generated bundle is "
        "kept, with its GPU engines beside it.",
        flags=("--random-weights",), aliases=("--config",), choices=("afhq",),
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
