"""The CPU in a GPU's place: short windows, invented figures, and rows with invented times."""

from __future__ import annotations

from typing import Any

from measured_rows import EQUAL, NO_IMAGES, row

from starcast.benchmarks.bench.gpu import NvidiaGpu
from starcast.benchmarks.bench.limits import Ceilings, Limits, Work
from starcast.benchmarks.bench.method import Method
from starcast.benchmarks.bench.result import BatchFigure, Measured, Measurement, Result, judge_rows
from starcast.benchmarks.bench.rows import LeftOut, Setting
from starcast.benchmarks.bench.timing import Turn

SHORT = Method(
    device="cpu", warm_up_s=0.01, agreement=1e9, window_s=0.01, window_samples=3, longest_s=1.0, split_samples=2
)
ON_GPU: dict[str, Any] = {"device": "cuda", "method": SHORT}  # a row that believes it is on a GPU


def gpu_setting(size: tuple[int, int] = (32, 32), **changes: Any) -> Setting:
    """The setting of a GPU's rows."""
    return Setting(size=size, **{**ON_GPU, **changes})


def measured_on_gpu(key: str, ms: float, compute: float | None, samples: int = 1000, **changes: Any) -> Measured:
    """A row whose every run took that long."""
    split = {"copy_in": 0.1, "compute": compute, "copy_out": 0.2, "enqueue": None}
    seconds = ms / 1000
    counts = (samples - 2, 1, 1)
    turns = tuple(
        Turn(seconds=seconds, cpu_seconds=seconds, samples=(seconds,) * count, split=split) for count in counts
    )
    return Measured(row(key, **ON_GPU, **changes), turns, EQUAL)


def batch_figure(batch: int, seconds: float, split: dict[str, float | None] | None = None) -> BatchFigure:
    """A batch size whose every run took that long."""
    return BatchFigure(batch, Turn(seconds=seconds, cpu_seconds=seconds, samples=(seconds,) * 9, split=split))


def gpu_result() -> Result:
    """Eager, and twice as fast a bundle of half the FLOP; a third row that did not run."""
    eager = measured_on_gpu("eager", 10.0, 8.0)
    ours = measured_on_gpu("ours-torch", 5.0, 4.0, 999, engine="torch", precision="fp16")
    not_run = LeftOut(name="starcast on TensorRT", reason="not run: no engine for sm_90 from wheels (not installed)")
    split = {"copy_in": 1.0, "compute": 64.0, "copy_out": 2.0, "enqueue": 0.5}
    return Result(
        device=NvidiaGpu(SHORT),
        method=SHORT,
        table=judge_rows(Measurement([eager, ours], [not_run], NO_IMAGES)),
        batches={
            "eager": [
                batch_figure(1, 0.010, split), BatchFigure(16, reason="no memory"),
            ],
            "ours-torch": [
                batch_figure(1, 0.005, split),
                batch_figure(16, 0.064, split),
            ],
        },
        limits=Limits(
            Ceilings({"fp32": 50.0, "fp16": 100.0}, 1000.0, 50.0, 40.0),
            Work({None: 80_000_000_000, "frame.onnx": 40_000_000_000}, 100_000_000),
        ),
        state=({"name": "Some GPU"}, None),
    )  # fmt: skip
