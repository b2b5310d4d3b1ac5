"""The processor in a card's place: short windows, invented figures, and engines that say what they are told to say."""

from __future__ import annotations

from typing import Any

from measured_rows import EQUAL, row

from starcast.benchmarks.bench.ceilings import Ceilings
from starcast.benchmarks.bench.gpu_bench import BatchFigure, CardTable
from starcast.benchmarks.bench.measure import Measured, Measurement
from starcast.benchmarks.bench.method import Method
from starcast.benchmarks.bench.rows import LeftOut
from starcast.benchmarks.bench.table import judged
from starcast.benchmarks.bench.work import Work

SHORT = Method(
    device="cpu", warm_up_s=0.01, agreement=1e9, window_s=0.01, window_samples=3, longest_s=1.0, split_samples=2
)


def on_card(key: str, ms: float, compute: float | None, samples: int = 1000, **changes: Any) -> Measured:
    """A row whose every run took so long."""
    split = {"copy_in": 0.1, "compute": compute, "copy_out": 0.2, "enqueue": None}
    seconds = ms / 1000
    return Measured(
        row=row(key, method=SHORT, **changes), seconds=(seconds,) * 3, cpu_seconds=(seconds,) * 3, difference=EQUAL,
        samples=(seconds,) * samples, split=split,
    )  # fmt: skip


def card_table() -> CardTable:
    """Eager, and twice as fast a bundle of half the FLOP; a third that did not run."""
    eager = on_card("eager", 10.0, 8.0)
    ours = on_card("ours-torch", 5.0, 4.0, 999, engine="torch", precision="fp16")
    not_run = LeftOut(name="starcast on TensorRT", reason="not run: no engine for sm_90 from wheels (not installed)")
    split = {"copy_in": 1.0, "compute": 64.0, "copy_out": 2.0, "enqueue": 0.5}
    return CardTable(
        latency=judged(Measurement([eager, ours], [not_run])),
        batches={
            "eager": [
                BatchFigure(batch=1, samples=(0.010,) * 9, split=split), BatchFigure(batch=16, reason="no memory"),
            ],
            "ours-torch": [
                BatchFigure(batch=1, samples=(0.005,) * 9, split=split),
                BatchFigure(batch=16, samples=(0.064,) * 9, split=split),
            ],
        },
        ceilings=Ceilings({"fp32": 50.0, "fp16": 100.0}, 1000.0, 50.0, 40.0),
        work=Work({None: 80_000_000_000, "frame.onnx": 40_000_000_000}, 100_000_000),
        method=SHORT,
        facts=({"name": "Some Card"}, None),
    )  # fmt: skip
