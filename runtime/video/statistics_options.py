"""The option of `video` and `morph` that shows and writes the statistics of a film."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from starcast.options import CheckedOptions, option


@dataclass(frozen=True, kw_only=True)
class StatisticsOptions(CheckedOptions):
    """Where statistics go."""

    statistics: Path | None = option(
        None, "Show how the time was spent: rates, times per stage, queues and what limits the speed. Also written to "
        "this JSON file.", metavar="FILE.json",
    )  # fmt: skip
