"""Rows and their figures, invented: what the arithmetic of the benchmarks is tested on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from starcast.benchmarks.bench.cpu import Cpu
from starcast.benchmarks.bench.method import ONE_RUN
from starcast.benchmarks.bench.result import Difference, Measured, Measurement, Result, judge_rows
from starcast.benchmarks.bench.rows import LeftOut, Row, Setting
from starcast.benchmarks.bench.timing import Turn

EQUAL = Difference(None, 0)
NO_IMAGES = np.empty((0, 0, 0, 3), np.uint8)


def row(key: str = "eager", **changes: Any) -> Row:
    """A row; one of ours if its key begins with `ours`."""
    facts: dict[str, Any] = {
        "name": key, "engine": "pytorch", "precision": "fp32", "form": "eager", "source": Path("weights.pt"),
        "variant": "frame.onnx" if key.startswith("ours") else None,
    }  # fmt: skip
    setting = {name: changes.pop(name) for name in vars(Setting(size=(64, 32))) if name in changes}
    return Row(setting=Setting(**{"size": (64, 32), **setting}), key=key, **{**facts, **changes})


def measured(
    key: str = "eager", seconds: Sequence[float] = (1.0, 1.0, 1.0), difference: Difference = EQUAL, **changes: Any
) -> Measured:
    """A row with seconds of its rounds; the CPU was busy twice as long."""
    turns = tuple(Turn(seconds=value, cpu_seconds=2 * value, samples=()) for value in seconds)
    return Measured(row(key, **changes), turns, difference, peak_rss=512_000_000)


def cpu_result(rows: Sequence[Measured], left_out: Sequence[LeftOut] = ()) -> Result:
    """A judged result of the CPU; the first row is the baseline."""
    return Result(device=Cpu(), method=ONE_RUN, table=judge_rows(Measurement(list(rows), list(left_out), NO_IMAGES)))
