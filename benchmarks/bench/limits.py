"""What a GPU's times are compared with: the GPU's ceilings, and the work that an image needs.

    python -m starcast.benchmarks.bench.limits DEVICE   prints the ceilings

Ceilings are the rates of large matrix products, and of copies within, to and from the GPU. Each is the best of several
sizes and runs by the GPU's own clock, not their mean.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from starcast.benchmarks.bench.parts import DeviceClock
from starcast.benchmarks.bench.rows import Row
from starcast.benchmarks.bench.work import Work
from starcast.benchmarks.bench.worker import reason_in
from starcast.errors import EngineError

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
SIDES = {"cuda": (4096, 8192), "cpu": (256,)}  # of the matrices
BYTES = {"cuda": 2**30, "cpu": 2**22}  # of a copy: more than any cache holds
RUNS, REPEATS = 8, 4  # runs in a row between two marks, and how often that is repeated
MATRIX_PRECISION = {"int8": "fp16", "fp8": "fp16"}  # precision -> the one whose ceiling it is compared with


@dataclass(frozen=True)
class Ceilings:
    """TFLOP/s of matrix products by precision (a multiply-add is two operations), and GB/s of copies.

    Copies within the GPU count each byte twice, as read and as written. The others use page-locked host memory.
    """

    matrix_tflop_per_s: Mapping[str, float]
    copy_gb_per_s: float
    to_gpu_gb_per_s: float
    from_gpu_gb_per_s: float

    def of_matrix(self, tflop_per_s: float, precision: str) -> float | None:
        """The share of the precision's ceiling that this rate reaches; None if the ceiling is unknown."""
        ceiling = self.matrix_tflop_per_s.get(MATRIX_PRECISION.get(precision, precision))
        return None if not ceiling else tflop_per_s / ceiling

    def of_copy(self, gb_per_s: float) -> float:
        """The share of the ceiling of copies within the GPU that this rate reaches."""
        return gb_per_s / self.copy_gb_per_s


def measure_ceilings_apart(device: str) -> Ceilings:
    """Measure the ceilings in a fresh process. Raises EngineError with the reason if that fails."""
    command = [sys.executable, "-m", "starcast.benchmarks.bench.limits", device]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(f"the GPU's ceilings cannot be measured ({reason_in(done.stderr, done.returncode)})")
    return Ceilings(**json.loads(done.stdout.splitlines()[-1]))


def measure_ceilings(device: str) -> Ceilings:
    """Measure the ceilings of a device, named as in torch; "cpu" stands in for a GPU in tests."""
    clock = DeviceClock(device)
    kind = clock.device.type
    size = BYTES[kind]
    here, there = (torch.empty(size, dtype=torch.uint8, device=clock.device) for _ in range(2))
    host = clock.pinned((size,))

    def gigabytes(target: torch.Tensor, source: torch.Tensor, ways: int) -> float:
        return ways * size / least_ms(lambda: target.copy_(source, non_blocking=True), clock) / 1e6

    return Ceilings(
        matrix_tflop_per_s={name: max(_tflop_per_s(name, side, clock) for side in SIDES[kind]) for name in DTYPES},
        copy_gb_per_s=gigabytes(there, here, 2),
        to_gpu_gb_per_s=gigabytes(here, host, 1),
        from_gpu_gb_per_s=gigabytes(host, here, 1),
    )


def least_ms(run: Callable[[], object], clock: DeviceClock) -> float:
    """Milliseconds per run: the best of several means, each over several runs in a row."""
    run()
    times = []
    for _ in range(REPEATS):
        first = clock.mark()
        for _ in range(RUNS):
            run()
        last = clock.mark()
        clock.wait()
        times.append(clock.between_ms(first, last) / RUNS)
    return min(times)


def _tflop_per_s(precision: str, side: int, clock: DeviceClock) -> float:
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    a, b = (torch.randn(side, side, device=clock.device).to(DTYPES[precision]) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * side**3 / least_ms(lambda: torch.mm(a, b, out=out), clock) / 1e9


@dataclass(frozen=True)
class Limits:
    """A device's ceilings and an image's work."""

    ceilings: Ceilings
    work: Work

    def shares(self, row: Row, batch: int, compute_ms: float | None) -> dict[str, float | None]:
        """A row's rate if it computes a batch in `compute_ms`, and its shares of the ceilings; None where unknown."""
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


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dataclasses.asdict(measure_ceilings(sys.argv[1]))) + "\n")
