"""The AdaIN kernel's figures: rows, a training step, their JSON, and the bars."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

SIZES = ((64, 256), (64, 128), (128, 128), (128, 64), (256, 64), (256, 32), (512, 32), (512, 16))  # channels, side
LARGEST = (64, 256)
BATCHES = (8, 1)
BAR_BATCH = 8  # the batch that bars are set for
FORMATS = {"channels last": torch.channels_last, "linear": torch.contiguous_format}
DTYPE = torch.float16
EAGER, COMPILED, KERNEL, COPY = "eager", "compiled", "triton", "copy"
AS_IT_COMES = f"{EAGER}, linear result"  # the linear result is not converted back to channels last


@dataclass(frozen=True)
class Planes:
    """A norm's input: (batch, channels, side, side) in a memory format."""

    batch: int
    channels: int
    side: int
    format: str

    @property
    def bytes(self) -> int:
        return self.batch * self.channels * self.side**2 * DTYPE.itemsize


# in the order in which they are measured, starting with the batch that has bars
PLANES = tuple(
    Planes(batch, channels, side, format) for batch in BATCHES for channels, side in SIZES for format in FORMATS
)


@dataclass(frozen=True)
class Row:
    """By implementation: microseconds per call, the worst error against float64 (outputs are of order one), and why it
    failed if it did. "copy" is the time the GPU needs to copy as many bytes."""

    planes: Planes
    microseconds: Mapping[str, float]
    errors: Mapping[str, float]
    failures: Mapping[str, str] = field(default_factory=dict)

    def gb_per_s(self, way: str) -> float:
        """GB/s, counting one read and one write of the planes."""
        return 2 * self.planes.bytes / self.microseconds[way] / 1e3

    def times_faster_than(self, way: str) -> float | None:
        """How many times as fast the kernel is as the fastest implementation whose name begins with `way`; None if one
        of them, or the kernel, has no time."""
        others = [name for name in (*self.microseconds, *self.failures) if name.startswith(way)]
        if not others or not {KERNEL, *others} <= self.microseconds.keys():
            return None
        return min(self.microseconds[name] for name in others) / self.microseconds[KERNEL]

    def nearer_than_eager_by(self) -> float | None:
        """How much less the kernel differs from float64 than eager does; None if either was not computed."""
        if not {KERNEL, EAGER} <= self.errors.keys():
            return None
        return self.errors[EAGER] - self.errors[KERNEL]


@dataclass(frozen=True)
class Step:
    """By implementation: milliseconds of a training step, peak memory in GiB, and why it failed if it did."""

    milliseconds: Mapping[str, float] = field(default_factory=dict)
    peak_gib: Mapping[str, float] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether nothing is left to measure."""
        return bool(self.milliseconds) and not self.failures

    @property
    def faster(self) -> bool | None:
        """Whether the step is faster with the kernel; None if that was not measured."""
        return self.milliseconds["triton"] < self.milliseconds["reference"] if self.whole else None


def bars(rows: Collection[Row], step: Step) -> dict[str, bool | None]:
    """Whether the kernel reaches each bar at batch 8 (batch 1 only has to be right); None if not all was measured."""
    barred = [row for row in rows if row.planes.batch == BAR_BATCH]
    if {row.planes for row in barred} != {planes for planes in PLANES if planes.batch == BAR_BATCH}:
        barred = []
    if {row.planes for row in rows} != set(PLANES):
        rows = []
    largest = [row for row in barred if (row.planes.channels, row.planes.side) == LARGEST]

    def faster(among: Collection[Row], way: str, least: float) -> bool | None:
        return _reach([row.times_faster_than(way) for row in among], least)

    return {
        "at least 2.5 times eager, at every size": faster(barred, EAGER, 2.5),
        "at least as fast as torch.compile, at every size": faster(barred, COMPILED, 1),
        "70 % of the copy bandwidth at 64x256x256": faster(largest, COPY, 0.7),
        "as near to float64 as eager, at every size": _reach([row.nearer_than_eager_by() for row in rows], 0),
        "a faster training step": step.faster,
    }


def _reach(values: Collection[float | None], least: float) -> bool | None:
    """Whether all values reach `least`; None if one is unknown, or if there are none."""
    known = [value for value in values if value is not None]
    return all(value >= least for value in known) if known and len(known) == len(values) else None


def as_json(row: Row) -> dict[str, Any]:
    """A row's figures, rounded to their accuracy."""
    timed = {
        way: {
            "microseconds": round(time, 2), "gb_per_s": round(row.gb_per_s(way), 1), "error": row.errors.get(way)
        }
        for way, time in row.microseconds.items()
    }  # fmt: skip
    return {
        **asdict(row.planes),
        "ways": {**timed, **{way: {"failure": reason} for way, reason in row.failures.items()}},
        "times_faster_than_eager": _round(row.times_faster_than(EAGER)),
        "times_faster_than_compiled": _round(row.times_faster_than(COMPILED)),
        "of_copy_bandwidth": _round(row.times_faster_than(COPY)),
    }


def from_json(record: Mapping[str, Any]) -> Row:
    """The row that `as_json` wrote."""

    def each(name: str) -> dict[str, Any]:
        return {way: facts[name] for way, facts in record["ways"].items() if facts.get(name) is not None}

    planes = Planes(record["batch"], record["channels"], record["side"], record["format"])
    return Row(planes, each("microseconds"), each("error"), each("failure"))


def line(row: Row) -> str:
    """A row as text."""
    cells = [f"{way} {time:8.1f} us" for way, time in row.microseconds.items()]
    if (part := row.times_faster_than(COPY)) is not None:
        cells.append(f"{row.gb_per_s(KERNEL):6.0f} GB/s ({part:.0%} of a copy)")
    cells += [f"{way} failed ({reason})" for way, reason in row.failures.items()]
    planes = row.planes
    return "  ".join([f"{planes.batch} x {planes.channels:3} x {planes.side:3}² {planes.format:13}", *cells])


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
