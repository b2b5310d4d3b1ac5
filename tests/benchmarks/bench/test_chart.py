from __future__ import annotations

from measured_rows import cpu_result, measured
from PIL import Image

from starcast.benchmarks.bench.chart import draw_chart
from starcast.benchmarks.bench.judge import Difference


def test_a_chart_is_a_picture_that_grows_with_its_rows(tmp_path):
    rows = [measured("eager"), measured("ours", (0.2, 0.4, 0.3)), measured("peer", (0.5,) * 3, Difference(9.0, 99))]
    few = draw_chart(tmp_path / "few.png", cpu_result(rows[:2]))
    many = draw_chart(tmp_path / "many.png", cpu_result(rows * 3))
    with Image.open(few) as small, Image.open(many) as large:
        assert small.width == large.width
        assert small.height < large.height
