"""What starcast on a GPU reaches of its bars: the best of its engines, at the bar's own batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
from measured_rows import row
from stand_in_gpu import gpu_result, measured_on_gpu

from starcast.benchmarks.bench.bars import BARS, bar_facts, bar_lines
from starcast.benchmarks.bench.measure import Measurement
from starcast.benchmarks.bench.result import judge_rows
from starcast.benchmarks.bench.throughput import BatchFigure


def at_16(seconds: float) -> list[BatchFigure]:
    return [BatchFigure(batch=16, samples=(seconds,) * 9)]


@pytest.fixture
def table():
    """Eager in 12 ms, in half in 4; TensorRT's flavours in 1.5 and 1.8, the torch engine in 3."""
    rows = [
        measured_on_gpu("eager", 12.0, 8.0), measured_on_gpu("eager-fp16", 4.0, 2.0, precision="fp16"),
        measured_on_gpu("ours-tensorrt", 1.5, 1.0, engine="tensorrt"),
        measured_on_gpu("ours-tensorrt-rtx", 1.8, 1.0, engine="tensorrt-rtx"),
        measured_on_gpu("ours-torch", 3.0, 2.0, engine="torch"),
    ]  # fmt: skip
    batches = {
        "eager-fp16": at_16(0.060), "ours-tensorrt": at_16(0.040), "ours-tensorrt-rtx": at_16(0.025),
        "ours-torch": at_16(0.050),
    }  # fmt: skip
    return judge_rows(Measurement(rows, [])), batches


def test_the_best_engine_counts_paired_where_the_rounds_had_the_batch(table):
    single, sixteen = bar_facts(*table)
    assert (single["tensorrt"]["row"], single["tensorrt"]["times"], single["tensorrt"]["paired"]) == (
        row("ours-tensorrt").name, pytest.approx(8.0), True,
    )  # fmt: skip
    assert (sixteen["tensorrt"]["row"], sixteen["tensorrt"]["times"], sixteen["tensorrt"]["paired"]) == (
        row("ours-tensorrt-rtx").name, pytest.approx(2.4), False,
    )  # fmt: skip
    assert [single["met"], sixteen["met"]] == [True, True]
    assert [single["torch"]["times"], sixteen["torch"]["times"]] == [pytest.approx(4.0), pytest.approx(1.2)]


def test_less_than_is_asked_for_is_missed(table):
    latency, batches = table
    slow = {**batches, "ours-tensorrt": at_16(0.061), "ours-tensorrt-rtx": at_16(0.040)}
    assert [facts["met"] for facts in bar_facts(latency, slow)] == [True, False]
    assert "(missed)" in bar_lines(latency, slow)[1]


def test_without_tensorrt_nothing_is_met_and_torch_stands_there():
    found = gpu_result()
    single, sixteen = bar_facts(found.table, found.batches)
    assert (single["tensorrt"], single["met"]) == (None, None)
    assert single["torch"]["times"] == pytest.approx(2.0)
    assert sixteen["torch"] is None  # eager in half was not measured
    [line] = bar_lines(found.table, found.batches)
    assert line.startswith("bar: 6 times eager at a batch of 1: ")
    assert line.endswith("2.00 (no TensorRT ran)")


def test_a_batch_that_failed_is_no_figure(table):
    latency, batches = table
    gone = {**batches, "eager-fp16": [replace(at_16(1)[0], samples=(), reason="no memory")]}
    assert bar_facts(latency, gone)[1]["tensorrt"] is None


def test_the_bars_are_those_of_the_runtime_on_a_gpu():
    assert [(bar.times, bar.peer, bar.batch) for bar in BARS] == [(6.0, "eager", 1), (2.0, "eager-fp16", 16)]
