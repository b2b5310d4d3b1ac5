"""What `starcast bench` has measured, on either device, and whether it counts: a fast wrong answer does not."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.bench.device import Device, Facts
from starcast.benchmarks.bench.limits import Limits
from starcast.benchmarks.bench.method import Method
from starcast.benchmarks.bench.rows import LeftOut, Row
from starcast.benchmarks.bench.timing import Parts, Turn, median_parts
from starcast.benchmarks.bench.work import Work
from starcast.export.gate.parity import LEVELS
from starcast.export.gate.quality import EQUAL, psnr
from starcast.export.precisions import PRECISIONS


@dataclass(frozen=True)
class Difference:
    """How far images are from the baseline's: the mean PSNR in dB (None: all equal) and the worst pixel's
    difference in grey levels."""

    psnr: float | None
    levels: int


def difference(images: NDArray[np.uint8], expected: NDArray[np.uint8]) -> Difference:
    """Compare uint8 arrays [N, H, W, 3]."""
    levels = int(np.abs(images.astype(np.int16) - expected.astype(np.int16)).max())
    if levels == 0:
        return Difference(None, 0)
    return Difference(float(np.mean([psnr(*pair) for pair in zip(images, expected, strict=True)])), levels)


def fault(row: Row, measured: Difference) -> str | None:
    """How a row misses its precision's gate, as a clause; None if it passes."""
    precision = PRECISIONS.get(row.precision)  # None for eager PyTorch's TF32, which is judged like float32
    if precision is None or precision.gate is None:
        wrong = measured.levels > LEVELS
        return f"differs from eager by {measured.levels} grey levels ({LEVELS} allowed)" if wrong else None
    least, reached = precision.gate.mean, EQUAL if measured.psnr is None else measured.psnr
    return f"{reached:.1f} dB against eager float32 ({least:g} required)" if reached < least else None


@dataclass(frozen=True)
class Measured:
    """A row's turns, one per round; how its output differs from the baseline's; the peak memory of its process,
    in bytes."""

    row: Row
    turns: tuple[Turn, ...]
    difference: Difference
    peak_rss: int | None = None

    @property
    def seconds(self) -> list[float]:
        return [turn.seconds for turn in self.turns]

    @property
    def samples(self) -> list[float]:
        return [sample for turn in self.turns for sample in turn.samples]

    @property
    def split(self) -> Parts:
        """Each part of a run, its median over the rounds; empty on the CPU."""
        return median_parts([turn.split for turn in self.turns if turn.split is not None]) or {}

    @property
    def steady(self) -> bool:
        """Whether the row became steady in every warm-up."""
        return all(turn.steady for turn in self.turns)

    @property
    def median_ms(self) -> float:
        return statistics.median(self.seconds) * 1000

    @property
    def p95_ms(self) -> float:
        return float(np.percentile(self.samples or self.seconds, 95)) * 1000

    @property
    def cpu_ms(self) -> float:
        return statistics.median(turn.cpu_seconds for turn in self.turns) * 1000

    @property
    def images_per_second(self) -> float:
        return self.row.setting.batch / statistics.median(self.seconds)


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A row's speed as a multiple of the baseline's, paired round by round."""

    median: float
    least: float
    greatest: float


@dataclass(frozen=True)
class Measurement:
    """The rows that ran, the baseline first; the rows that did not; and the baseline's translations."""

    rows: list[Measured]
    left_out: list[LeftOut]
    images: NDArray[np.uint8]

    @property
    def baseline(self) -> Measured:
        return self.rows[0]


def ratio(row: Measured, baseline: Measured) -> Ratio:
    """The baseline's time / the row's, paired within each round."""
    paired = [theirs / ours for theirs, ours in zip(baseline.seconds, row.seconds, strict=True)]
    return Ratio(median=statistics.median(paired), least=min(paired), greatest=max(paired))


@dataclass(frozen=True)
class BatchFigure:
    """A row's turn at a batch size, or why there is none."""

    batch: int
    turn: Turn | None = None
    reason: str | None = None

    @property
    def images_per_second(self) -> float | None:
        return None if self.turn is None else self.batch / self.turn.seconds


@dataclass(frozen=True)
class Table:
    """What may be shown: `rows` with the baseline first; `notes`, by row name, for peers below their gate; `left_out`
    includes our rows below their gate."""

    rows: list[Measured]
    notes: dict[str, str]
    left_out: list[LeftOut]

    @property
    def baseline(self) -> Measured:
        return self.rows[0]


@dataclass(frozen=True, kw_only=True)
class Result:
    """A judged table, the work for an image and, if the device has them, the throughput by row key, the limits, and the
    device's state before and after."""

    device: Device
    method: Method
    table: Table
    batches: Mapping[str, Sequence[BatchFigure]] = field(default_factory=dict)
    work: Work | None = None
    limits: Limits | None = None
    state: tuple[Facts | None, Facts | None] = (None, None)
    remarks: tuple[str, ...] = ()  # on the subject


def judge_rows(measurement: Measurement) -> Table:
    """Keep a row of ours only if it passes its gate. A peer below its gate stays, with a note: users get that output.

    The reason a row of ours is left out includes its time. For int8 on random weights, which amplify errors that a
    trained network damps, the time is all there is to learn.
    """
    baseline = measurement.rows[0]
    rows, notes, left_out = [], {}, list(measurement.left_out)
    for row in measurement.rows:
        reason = fault(row.row, row.difference)
        if reason is not None and row.row.ours:
            times = ratio(row, baseline)
            reason = f"{reason}; it took 1 / {times.median:.2f} of eager's time (at least 1 / {times.least:.2f})"
            left_out.append(LeftOut(name=row.row.name, reason=reason))
            continue
        if reason is not None:
            notes[row.row.name] = reason
        rows.append(row)
    return Table(rows, notes, left_out)
