"""A row's throughput, alone in a fresh process, batch size after batch size."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.bench.judge import difference, fault
from starcast.benchmarks.bench.measure import Measured
from starcast.benchmarks.bench.method import percentile_ms
from starcast.benchmarks.bench.rows import Row
from starcast.benchmarks.bench.worker import start_worker
from starcast.errors import EngineError


@dataclass(frozen=True, kw_only=True)
class BatchFigure:
    """A row at a batch size: seconds of every run, their parts in milliseconds, and what the GPU reported meanwhile; or
    the reason why there are none."""

    batch: int
    samples: tuple[float, ...] = ()
    split: dict[str, float | None] | None = None
    state: Mapping[str, Any] | None = None
    reason: str | None = None

    @property
    def images_per_second(self) -> float | None:
        median = percentile_ms(self.samples, 50)
        return None if median is None else self.batch / median * 1000


def compiled_last(rows: Sequence[Measured]) -> list[Row]:
    """The order in which rows are measured: those that compile for each batch size come last."""
    return sorted((row.row for row in rows), key=lambda row: row.form == "compiled")


def measure_throughput(
    row: Row, inputs: Path, batches: Sequence[int], expected: NDArray[np.uint8],
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[BatchFigure]:  # fmt: skip
    """Measure a row at each batch size. A failure is the last figure: larger batches would fail as well."""
    with tempfile.TemporaryDirectory() as folder, start_worker(row, inputs) as worker:
        file = Path(folder) / "images.npy"
        for batch in batches:
            progress(f"batches of {batch}: {row.name}")
            try:
                answer = worker.ask(f"batch {batch} {file}")
            except EngineError as error:
                yield BatchFigure(batch=batch, reason=str(error))
                return
            images = np.load(file)
            reason = fault(row, difference(images, expected[: len(images)]))
            if reason is not None and row.ours:
                yield BatchFigure(batch=batch, reason=reason)
                continue
            yield BatchFigure(
                batch=batch, samples=tuple(answer["samples"]), split=answer["split"], state=answer["state"]
            )  # fmt: skip
