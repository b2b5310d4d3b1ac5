"""What a GPU can do at best: products of large matrices, and copies within it, to it and from it.

    python -m starcast.benchmarks.bench.ceilings DEVICE

The best of several sizes and runs, by the GPU's own clock: a ceiling for a network's figures, not a mean.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from starcast.benchmarks.bench.clock import DeviceClock
from starcast.benchmarks.bench.worker import reason_in
from starcast.errors import EngineError

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
SIDES = {"cuda": (4096, 8192), "cpu": (256,)}  # of the matrices
BYTES = {"cuda": 2**30, "cpu": 2**22}  # of a copy: more than any cache holds
RUNS, REPEATS = 8, 4  # runs in a row between two marks, and how often
MATRIX_PRECISION = {"int8": "fp16", "fp8": "fp16"}  # precisions compared with another one's ceiling


@dataclass(frozen=True)
class Ceilings:
    """TFLOP/s of matrix products by precision, two operations a multiply-add. GB/s of copies: within the GPU, where a
    byte counts as read and as written, and between page-locked memory and the GPU."""

    matrix_tflop_per_s: Mapping[str, float]
    copy_gb_per_s: float
    to_gpu_gb_per_s: float
    from_gpu_gb_per_s: float

    def of_matrix(self, tflop_per_s: float, precision: str) -> float | None:
        """The share of the ceiling that is reached."""
        ceiling = self.matrix_tflop_per_s.get(MATRIX_PRECISION.get(precision, precision))
        return None if not ceiling else tflop_per_s / ceiling

    def of_copy(self, gb_per_s: float) -> float:
        """The same for copies within the GPU."""
        return gb_per_s / self.copy_gb_per_s


def measure_ceilings_apart(device: str) -> Ceilings:
    """Measure them in a fresh process. Raises EngineError with the reason if that fails."""
    command = [sys.executable, "-m", "starcast.benchmarks.bench.ceilings", device]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(f"the GPU's ceilings cannot be measured ({reason_in(done.stderr, done.returncode)})")
    return Ceilings(**json.loads(done.stdout.splitlines()[-1]))


def measure_ceilings(device: str) -> Ceilings:
    """Measure a device by torch's name; "cpu" stands in for a GPU in tests."""
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
    """Milliseconds of one run: the mean of several in a row, the best of several times."""
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


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dataclasses.asdict(measure_ceilings(sys.argv[1]))) + "\n")
