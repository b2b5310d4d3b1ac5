"""Options of `starcast demo` and `starcast bench`. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from starcast.options import CheckedOptions, option


@dataclass(frozen=True, kw_only=True)
class BenchOptions(CheckedOptions):
    """What is measured against eager PyTorch, and how."""

    checkpoint: Path | None = option(
        None, "What BUNDLE was exported from; without it, it is looked for beside the bundle."
    )
    config: str | None = option(
        None, "Measure random weights at full size instead, AFHQ's being 256 px; BUNDLE, if given, is where they stay, "
        "and beside it the engines that are built of them for a card.",
        choices=("afhq",),
    )  # fmt: skip
    device: str = option(
        "auto", "Rows of the processor, or of an NVIDIA card; auto is the card where there is one.",
        choices=("auto", "cpu", "cuda"),
    )  # fmt: skip
    quick: bool = option(
        False, "Take two minutes at most: fewer rows, and rounds until the time is up; on a card fewer of everything."
    )
    rows: tuple[str, ...] = option(
        (), "Rows by key, as eager, compiled, plain-openvino or ours-*; the baseline eager is always among them."
    )
    rounds: int = option(9, "How often each row is asked in turn, at most.", minimum=1, maximum=1000)
    batch: int = option(1, "Pictures in a batch.", minimum=1)
    batches: tuple[str, ...] = option(
        ("1", "2", "4", "8", "16", "32", "64"), "On a card: batches whose throughput is measured besides."
    )
    size: str | None = option(
        None, "Size of the pictures; without it that of the training.", metavar="SIDE|HEIGHTxWIDTH"
    )
    threads: int | None = option(None, "Threads of every row; without it as many as this process may use.", minimum=1)
    data: Path | None = option(
        None, "Data set for the pictures; without it the checkpoint's, or pictures made by arithmetic."
    )
    json: Path | None = option(None, "Write the figures, with the machine and the versions, here; and a PNG beside it.")


@dataclass(frozen=True, kw_only=True)
class DemoOptions(CheckedOptions):
    """What the demonstration does. The defaults are what `make demo` shows."""

    output: Path = option(Path("demo"), "Folder for data, run, bundle and report.", flags=("-o", "--output"))
    steps: int = option(600, "Training steps.", minimum=1)
    seed: int = option(777, "Decides every random draw of data and training.", minimum=0)
    rounds: int = option(9, "Rounds of the speed measurement.", minimum=1)
    fresh: bool = option(False, "Begin anew; without it an interrupted or finished training is taken up again.")
