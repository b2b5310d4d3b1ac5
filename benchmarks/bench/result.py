"""What `starcast bench` has measured, on either device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from starcast.benchmarks.bench.device import Device, Facts
from starcast.benchmarks.bench.judge import fault
from starcast.benchmarks.bench.limits import Limits
from starcast.benchmarks.bench.measure import Measured, Measurement, ratio
from starcast.benchmarks.bench.method import Method
from starcast.benchmarks.bench.rows import LeftOut
from starcast.benchmarks.bench.throughput import BatchFigure


@dataclass(frozen=True)
class Table:
    """What may be shown: `rows` with the baseline first; `notes`, by row name, for peers below their gate; `left_out`
    includes the rows of ours that miss theirs."""

    rows: list[Measured]
    notes: dict[str, str]
    left_out: list[LeftOut]

    @property
    def baseline(self) -> Measured:
        return self.rows[0]


@dataclass(frozen=True, kw_only=True)
class Result:
    """A judged table with, where the device has them, the throughput by row key, the limits, and the device's state
    before and after."""

    device: Device
    method: Method
    table: Table
    batches: Mapping[str, Sequence[BatchFigure]] = field(default_factory=dict)
    limits: Limits | None = None
    state: tuple[Facts | None, Facts | None] = (None, None)
    remarks: tuple[str, ...] = ()  # on the subject


def judge_rows(measurement: Measurement) -> Table:
    """Keep a row of ours only if it passes its gate. A peer below its gate stays, with a note: its users get that.

    The reason a row of ours is left out includes its time: for int8 on random weights, which amplify what a trained
    network damps, that is all there is to learn.
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
