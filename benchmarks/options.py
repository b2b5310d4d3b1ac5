"""Options of `starcast demo` and `starcast benchmark`. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from starcast.options import CheckedOptions, option

ROWS = ("eager", "eager-channels-last", "compiled", "onnxruntime", "openvino")


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(CheckedOptions):
    """How a bundle is measured against eager PyTorch."""

    rows: tuple[str, ...] = option(
        (), f"What to compare, the baseline first ({', '.join(ROWS)}); without it eager and every engine here."
    )
    rounds: int = option(9, "How often each row is asked in turn.", minimum=1, maximum=1000)
    batch: int = option(1, "Pictures in a batch.", minimum=1)
    threads: int | None = option(None, "Threads of every row; without it as many as this process may use.", minimum=1)
    json: Path | None = option(None, "Write the figures, with the machine and the versions, to this file.")


@dataclass(frozen=True, kw_only=True)
class DemoOptions(CheckedOptions):
    """What the demonstration does. The defaults are what `make demo` shows."""

    output: Path = option(Path("demo"), "Folder for data, run, bundle and report.", flags=("-o", "--output"))
    steps: int = option(600, "Training steps.", minimum=1)
    seed: int = option(777, "Decides every random draw of data and training.", minimum=0)
    rounds: int = option(9, "Rounds of the speed measurement.", minimum=1)
    fresh: bool = option(False, "Begin anew; without it an interrupted or finished training is taken up again.")
