"""What a GPU's record holds: the CPU's fields and its own, and their arithmetic."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from measured_rows import NO_IMAGES, cpu_result, measured, row
from stand_in_gpu import batch_figure, gpu_result, measured_on_gpu

from starcast.benchmarks.bench import report
from starcast.benchmarks.bench.gpu_figures import BARS, bar_facts, bar_lines, limited_by
from starcast.benchmarks.bench.result import BatchFigure, Measurement, judge_rows

PARTS = [
    "copy_in_ms",
    "compute_ms",
    "copy_out_ms",
    "enqueue_ms",
    "tflop_per_s",
    "of_matmul_ceiling",
    "of_copy_bandwidth",
]


@pytest.fixture
def record():
    written = json.dumps(report.record(gpu_result()), allow_nan=False)
    return json.loads(written)


def test_a_row_has_the_cpus_fields_and_the_gpus(record):
    plain = report.rows_json(cpu_result([measured("eager")]))[0]
    for facts in record["rows"]:
        assert set(plain) <= set(facts)
        assert {
            "ms_least",
            "ms_p50",
            "ms_p90",
            "ms_p95",
            "ms_p99",
            "samples",
            "steady",
            "batches",
            "gpu",
            *PARTS,
        } <= set(facts)


def test_percentiles_are_of_single_runs_and_a_99th_needs_a_thousand(record):
    eager, ours = record["rows"]
    assert (eager["ms_p50"], eager["ms_p99"], eager["samples"]) == (10, 10, 1000)
    assert (ours["ms_p95"], ours["ms_p99"], ours["samples"]) == (5, None, 999)
    assert ours["ratio_vs_eager"] == 2


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"copy_in": 0.1, "compute": 1.0, "copy_out": 0.1, "enqueue": 0.81}, "limited by the CPU"),
        ({"copy_in": 0.1, "compute": 1.0, "copy_out": 0.1, "enqueue": 0.79}, None),
        ({"copy_in": 0.6, "compute": 1.0, "copy_out": 0.4, "enqueue": None}, "copies as long as it computes"),
        ({"copy_in": 0.5, "compute": 1.0, "copy_out": 0.4, "enqueue": 0.1}, None),
        ({"copy_in": 0.5, "compute": None, "copy_out": 0.4, "enqueue": None}, None),
    ],
)
def test_a_row_limited_by_more_than_compute_is_told(parts, told):
    found = limited_by(parts)
    assert found is None if told is None else told in found


def test_compute_is_held_against_the_gpus_ceilings(record):
    eager, ours = record["rows"]
    # 80 GFLOP in 8 ms of 50 TFLOP/s; 400 MB in 8 ms of 1 TB/s
    assert (eager["tflop_per_s"], eager["of_matmul_ceiling"], eager["of_copy_bandwidth"]) == (10, 0.2, 0.05)
    # 40 GFLOP in 4 ms of 100 TFLOP/s, 200 MB
    assert (ours["tflop_per_s"], ours["of_matmul_ceiling"], ours["of_copy_bandwidth"]) == (10, 0.1, 0.05)


def test_a_batch_has_its_throughput_or_its_reason(record):
    eager, ours = record["rows"]
    assert eager["batches"][0]["images_per_s"] == 100
    assert eager["batches"][1] == {"batch": 16, "reason": "no memory"}
    last = ours["batches"][1]
    assert (last["batch"], last["images_per_s"], last["ms_p50"]) == (16, 250, 64)
    assert last["tflop_per_s"] == 10  # 16 of 40 GFLOP in 64 ms
    assert set(PARTS) <= set(last)


def test_what_did_not_run_says_why(record):
    assert record["left_out"] == [
        {"name": "starcast on TensorRT", "reason": "not run: no engine for sm_90 from wheels (not installed)"}
    ]


def test_the_method_its_settings_and_the_machine_stand_beside_the_figures(record):
    assert record["method"]["settings"]["warm_up_s"] == 0.01
    assert record["method"]["settings"]["agreement"] == 1e9
    assert {"latency", "throughput", "split", "of_matmul_ceiling", "of_copy_bandwidth", "tf32"} < set(record["method"])
    assert {"versions", "load", "commit", "command"} <= set(record["machine"])
    assert record["gpu"]["before"] == {"name": "Some GPU"}
    assert record["ceilings"]["matrix_tflop_per_s"]["fp16"] == 100
    assert record["work_per_image"] == {
        "flop": {"plain": 80_000_000_000, "frame.onnx": 40_000_000_000}, "numbers_of_convolutions": 100_000_000,
    }  # fmt: skip


def test_where_compute_is_not_known_nothing_is_made_of_it():
    result = gpu_result()
    assert set(result.limits.shares(result.table.baseline.row, 1, None).values()) == {None}


def test_the_text_has_both_tables_and_what_is_no_result():
    shown = report.text(gpu_result())
    latency, throughput = shown.split("\n\n")
    assert all(header in latency for header in report.headers(gpu_result()))
    assert "images/s at a batch of" in throughput
    assert "no result: starcast on TensorRT: not run: no engine for sm_90" in throughput
    assert "no result: eager at a batch of 16: no memory" in throughput
    assert "never became steady" not in shown


def test_a_row_that_never_became_steady_is_named():
    result = gpu_result()
    row, turns = result.table.rows[1], result.table.rows[1].turns
    unsteady = replace(row, turns=(replace(turns[0], steady=False), *turns[1:]))
    result = replace(result, table=replace(result.table, rows=[result.table.rows[0], unsteady]))
    assert "ours-torch never became steady in its warm-up" in report.remarks(result)


def test_the_chart_is_titled_with_the_gpu():
    assert gpu_result().device.title(gpu_result()) == "32x64 px, batch 1, on Some GPU"


def at_16(seconds: float) -> list[BatchFigure]:
    return [batch_figure(16, seconds)]


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
    return judge_rows(Measurement(rows, [], NO_IMAGES)), batches


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
    gone = {**batches, "eager-fp16": [BatchFigure(16, reason="no memory")]}
    assert bar_facts(latency, gone)[1]["tensorrt"] is None


def test_the_bars_are_those_of_the_runtime_on_a_gpu():
    assert [(bar.times, bar.peer, bar.batch) for bar in BARS] == [(6.0, "eager", 1), (2.0, "eager-fp16", 16)]
