"""Settings along each axis, and what the arithmetic of a row is."""

from __future__ import annotations

import pytest
from PIL import Image

from starcast.benchmarks.studies.convolution import Rate, flop_of, least_seconds
from starcast.benchmarks.studies.scaling import ScalingOptions, Setting, axes_of
from starcast.benchmarks.studies.scaling_report import (
    draw_scaling,
    lines_of,
    place_on,
    proportional,
    rows_along,
    with_arithmetic,
)
from starcast.errors import OptionError


def row(name="eager", size=(64, 64), batch=1, threads=2, **changes):
    return {
        "name": name, "engine": "openvino", "precision": "fp32", "size": list(size), "batch": batch,
        "threads": threads, "ms_p50": 500.0, "ratio_vs_eager": 1.0, **changes,
    }  # fmt: skip


def test_one_thing_is_varied_at_a_time():
    axes = axes_of(ScalingOptions(sizes=("32", "64x32"), batches=("1", "4")), (64, 64), threads=2)
    assert axes == {
        "size": [Setting((32, 32), 1, 2), Setting((32, 64), 1, 2)],
        "batch": [Setting((64, 64), 1, 2), Setting((64, 64), 4, 2)],
        "threads": [Setting((64, 64), 1, 1), Setting((64, 64), 1, 2)],
    }


@pytest.mark.parametrize("given", [{"batches": ("0",)}, {"batches": ("many",)}, {"thread_counts": ("-1",)}])
def test_counts_that_are_none_are_refused(given):
    with pytest.raises(OptionError, match="whole numbers"):
        axes_of(ScalingOptions(**given), (64, 64), threads=2)


def test_a_row_is_held_against_its_engines_own_convolutions():
    # 4 pictures of 25 GFLOP in half a second are 200 GFLOP/s; the engine's convolution reaches 250
    rates = {("openvino", "fp32", 2): Rate(250.0, 512, 32)}
    found = with_arithmetic(row(batch=4), 25_000_000_000, rates)
    assert (found["gflop"], found["gflop_per_s"], found["share_of_convolution_rate"]) == (100.0, 200.0, 0.8)


def test_without_a_rate_there_is_no_share():
    assert with_arithmetic(row(precision="int8"), 10**9, {})["share_of_convolution_rate"] is None


def test_a_convolution_counts_two_a_multiply_add():
    assert flop_of(channels=2, side=4) == 2 * (3 * 3 * 2) * (2 * 4 * 4)


def test_the_shortest_of_several_runs_counts_and_the_first_does_not():
    runs = iter([0.01, 0.5, 0.3, 0.4, 0.6, 0.5])  # the first is the warm-up, and would be the least
    now = 0.0

    def call():
        nonlocal now
        now += next(runs)

    assert least_seconds(call, lambda: now) == pytest.approx(0.3)


RESULT = {
    "axes": {
        "size": [{"size": [32, 32], "batch": 1, "threads": 2}, {"size": [64, 64], "batch": 1, "threads": 2}],
        "batch": [{"size": [64, 64], "batch": 1, "threads": 2}],
    },
    "rows": [
        with_arithmetic(row(name, size, ms_p50=ms), flop, {("openvino", "fp32", 2): Rate(250.0, 512, 32)})
        for name in ("eager", "ours")
        for size, ms, flop in (((32, 32), 100.0, 10**9), ((64, 64), 350.0, 4 * 10**9))
    ],
}


def test_an_axis_has_its_own_settings_and_no_others():
    assert [(found["name"], found["size"]) for found in rows_along(RESULT, RESULT["axes"]["size"])] == [
        ("eager", [32, 32]), ("eager", [64, 64]), ("ours", [32, 32]), ("ours", [64, 64]),
    ]  # fmt: skip
    assert [found["size"] for found in rows_along(RESULT, RESULT["axes"]["batch"])] == [[64, 64]] * 2


def test_the_dashed_line_grows_with_the_flop_and_falls_with_the_threads():
    assert proportional(RESULT["rows"][:2]) == [100.0, 400.0]
    two = [{"gflop": 8.0, "batch": 1, "threads": 1, "ms_p50": 80.0}, {"gflop": 8.0, "batch": 1, "threads": 2}]
    assert proportional(two) == [80.0, 40.0]
    batches = [{"gflop": 8.0, "batch": 1, "threads": 1, "ms_p50": 80.0}, {"gflop": 32.0, "batch": 4, "threads": 1}]
    assert proportional(batches) == [80.0, 80.0]


def test_a_picture_lies_at_the_side_of_a_square_with_as_many_pixels():
    assert place_on("size", row(size=(128, 512))) == 256
    assert place_on("batch", row(batch=4)) == 4


def test_plots_and_a_table_are_made_of_a_record(tmp_path):
    with Image.open(draw_scaling(tmp_path / "scaling.png", RESULT, "A processor")) as picture:
        assert picture.width > picture.height
    text = "\n".join(lines_of(RESULT))
    assert "64x64" in text
    assert "5%" in text  # 4 GFLOP in 350 ms are 11.4 GFLOP/s of 250
