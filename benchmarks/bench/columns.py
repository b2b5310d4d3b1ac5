"""The columns that tables of either device share."""

from __future__ import annotations

from starcast.benchmarks.bench.device import Column
from starcast.benchmarks.bench.measure import Measured, ratio
from starcast.benchmarks.bench.result import Result

MEGABYTE = 1e6


def _name(row: Measured, result: Result) -> str:
    return f"{row.row.name} *" if row.row.name in result.table.notes else row.row.name


def _psnr(row: Measured, result: Result) -> str:
    psnr = row.difference.psnr
    return "equal" if psnr is None else f"{psnr:.1f}"


def _levels(row: Measured, result: Result) -> str:
    return "—" if row is result.table.baseline else f"{row.difference.levels} of 255"


def _peak_memory(row: Measured, result: Result) -> str:
    return "—" if row.peak_rss is None else f"{row.peak_rss / MEGABYTE:.0f}"


NAME = Column("", _name)
MEDIAN = Column("median ms", lambda row, result: f"{row.median_ms:.1f}")
P95 = Column("p95 ms", lambda row, result: f"{row.p95_ms:.1f}")
IMAGES = Column("images/s", lambda row, result: f"{row.images_per_second:.1f}")
TIMES_EAGER = Column("times eager", lambda row, result: f"{ratio(row, result.table.baseline).median:.2f}")
LEAST = Column("least", lambda row, result: f"{ratio(row, result.table.baseline).least:.2f}")
PSNR = Column("PSNR dB", _psnr)
LEVELS = Column("differs by", _levels)
CPU_TIME = Column("CPU ms", lambda row, result: f"{row.cpu_ms:.1f}")
PEAK_MEMORY = Column("peak MB", _peak_memory)
