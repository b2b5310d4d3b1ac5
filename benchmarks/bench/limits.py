"""What a GPU's times are compared with: the device's ceilings, and the work that an image takes at least."""

from __future__ import annotations

from dataclasses import dataclass

from starcast.benchmarks.bench.ceilings import Ceilings
from starcast.benchmarks.bench.rows import Row
from starcast.benchmarks.bench.work import Work


@dataclass(frozen=True)
class Limits:
    """A device's ceilings and an image's work."""

    ceilings: Ceilings
    work: Work

    def shares(self, row: Row, batch: int, compute_ms: float | None) -> dict[str, float | None]:
        """The rate of a computation that takes this long, and its shares of the ceilings; None where unknown."""
        flop = self.work.flop.get(row.variant)
        if compute_ms is None or flop is None:
            return {"tflop_per_s": None, "of_matmul_ceiling": None, "of_copy_bandwidth": None}
        rate = flop * batch / compute_ms / 1e9
        traffic = self.work.bytes(row.precision) * batch / compute_ms / 1e6
        share = self.ceilings.of_matrix(rate, row.precision)
        return {
            "tflop_per_s": round(rate, 3),
            "of_matmul_ceiling": None if share is None else round(share, 4),
            "of_copy_bandwidth": round(self.ceilings.of_copy(traffic), 4),
        }
