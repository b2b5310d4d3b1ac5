"""What is shown as a result, what is noted, and what the JSON holds."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from measured_rows import cpu_result, measured
from PIL import Image

from starcast.benchmarks.bench.report import draw_chart, headers, lines, record, remarks, rows_json, text, warnings
from starcast.benchmarks.bench.result import Difference
from starcast.benchmarks.bench.rows import LeftOut

EAGER = measured("eager", (1.0, 4.0, 1.0))
GOOD = measured("ours-good", (0.5, 1.0, 0.4), Difference(80.0, 1), engine="openvino", form="taps9")
WRONG = measured("ours-wrong", (0.1, 0.1, 0.1), Difference(20.0, 90), engine="openvino", precision="int8")
PEER = measured("nncf-openvino", (0.2, 0.2, 0.2), Difference(26.7, 55), engine="openvino", precision="int8")
FIELDS = [
    "name", "engine", "precision", "form", "size", "batch", "threads", "ms_p50", "ms_p95", "cpu_ms", "images_per_s",
    "ratio_vs_eager", "psnr_db", "max_abs_err", "peak_rss_mb",
]  # fmt: skip


@pytest.fixture
def result():
    return cpu_result([EAGER, GOOD, WRONG, PEER], [LeftOut(name="compiled", reason="no compiler")])


def test_ours_below_its_gate_is_no_result_and_a_peer_below_it_is_noted(result):
    assert result.table.rows == [EAGER, GOOD, PEER]
    assert [out.name for out in result.table.left_out] == ["compiled", "ours-wrong"]
    assert list(result.table.notes) == ["nncf-openvino"]


def test_the_text_has_the_results_and_below_them_what_is_none(result):
    shown, below = text(result).split("\n", 5)[:5], "\n".join(remarks(result))
    assert "ours-wrong" not in "\n".join(shown)
    assert "* nncf-openvino: 26.7 dB" in below
    assert "no result: compiled: no compiler" in below
    assert "ours-wrong: 20.0 dB" in below
    assert below in text(result)


def test_a_line_has_a_cell_for_every_header(result):
    assert {len(line) for line in lines(result)} == {len(headers(result))}
    assert lines(result)[2][0].endswith(" *")


def test_a_json_row_has_the_fields_that_were_promised_and_the_samples(result):
    rows = rows_json(result)
    assert [list(row) for row in rows] == [[*FIELDS, "ratio_least", "ratio_greatest", "seconds"]] * 3
    assert rows[1] == {
        "name": "ours-good", "engine": "openvino", "precision": "fp32", "form": "taps9", "size": [64, 32], "batch": 1,
        "threads": 1, "ms_p50": 500.0, "ms_p95": 950.0, "cpu_ms": 1000.0, "images_per_s": 2.0, "ratio_vs_eager": 2.5,
        "psnr_db": 80.0, "max_abs_err": 1, "peak_rss_mb": 512.0, "ratio_least": 2.0, "ratio_greatest": 4.0,
        "seconds": [0.5, 1.0, 0.4],
    }  # fmt: skip


def test_the_json_is_valid_where_pictures_are_equal(result):
    written = json.dumps(record(result), allow_nan=False)
    assert json.loads(written)["rows"][0]["psnr_db"] is None
    assert json.loads(written)["rows"][0]["ratio_vs_eager"] == 1.0


def test_what_is_to_be_known_of_the_subject_comes_first_and_is_recorded(result):
    told = replace(result, remarks=("exported without gates",))
    assert remarks(told)[0] == "exported without gates"
    assert record(told)["remarks"] == ["exported without gates"]
    assert "remarks" not in record(result)


def test_rounds_that_spread_are_doubted_and_steady_ones_are_not():
    said = warnings([measured("unsteady", (1, 1.5, 2, 1, 2)), measured("steady", (1, 1.01, 1))])
    assert len(said) == 1
    assert said[0].startswith("unsteady varied by")


def test_a_chart_is_a_picture_that_grows_with_its_rows(tmp_path):
    rows = [measured("eager"), measured("ours", (0.2, 0.4, 0.3)), measured("peer", (0.5,) * 3, Difference(9.0, 99))]
    few = draw_chart(tmp_path / "few.png", cpu_result(rows[:2]))
    many = draw_chart(tmp_path / "many.png", cpu_result(rows * 3))
    with Image.open(few) as small, Image.open(many) as large:
        assert small.width == large.width
        assert small.height < large.height
