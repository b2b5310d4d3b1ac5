"""The studies of the rate and the memory of `starcast video`: what they count as the limit, and as growth."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from starcast.benchmarks.studies.video_limit import Cost, limit_of
from starcast.benchmarks.studies.video_memory import growth_of, growth_over_films
from starcast.benchmarks.studies.video_rate import RateOptions, compute, in_order, read_rows, stand_in
from starcast.errors import OptionError


def test_the_slowest_stage_limits_or_the_cpu_time_over_the_cores():
    costs = {"decode": Cost(1, 2), "run": Cost(5, 5), "encode": Cost(4, 7)}
    assert limit_of(costs, cores=4) == ("run", 5)
    assert limit_of(costs, cores=2) == ("CPU", 7)


def test_growth_is_that_over_the_second_part_of_the_film():
    assert growth_of([50, 100, 110, 105]) == pytest.approx(0.10)
    assert growth_of([50, 100, 90, 95]) == pytest.approx(-0.05)


def test_growth_over_many_films_compares_the_last_ten_with_the_second_ten():
    assert growth_over_films([90] * 10 + [100] * 10 + [500] * 5 + [104] * 10) == pytest.approx(0.04)


def test_a_stand_in_takes_its_time_for_every_image_and_computes_without_pythons_lock():
    images = np.zeros((2, 4, 4, 3), np.uint8)
    start = time.perf_counter()
    assert stand_in("sleep-5")(None, images, None) is images
    assert time.perf_counter() - start >= 0.010
    cpu = time.thread_time()
    compute(0.010)
    assert time.thread_time() - cpu >= 0.010


HERE = {
    "bundle": {"sha256": "1"}, "backend": "openvino", "seconds": 20,
    "machine": {"processor": "a", "cores": 2, "sources": "b"},
}  # fmt: skip


def test_rows_measured_in_parts_stand_in_one_record_if_machine_code_and_bundle_are_the_same(tmp_path, capsys):
    record = tmp_path / "rate.json"
    assert read_rows(record, HERE) == {}
    row = {"video": "848x464, --keep-size", "model": "own"}
    record.write_text(json.dumps({**HERE, "rows": [row]}))
    rows = read_rows(record, HERE)
    first = {"video": "the model's size", "model": "compute-2"}
    assert in_order({**rows, (first["video"], first["model"]): first}) == [first, row]
    assert read_rows(record, {**HERE, "machine": {**HERE["machine"], "sources": "c"}}) == {}
    assert capsys.readouterr().out == f"{record} differs in sources: it starts over\n"


def test_a_file_that_is_no_record_of_the_study_is_refused(tmp_path):
    record = tmp_path / "rate.json"
    record.write_text("{}")
    with pytest.raises(OptionError, match=r"rate\.json is not a record of this study: choose another -o"):
        read_rows(record, HERE)


def test_a_model_that_the_study_does_not_know_is_refused():
    with pytest.raises(OptionError, match="--models takes own, sleep-1, compute-40 and the like, not wait-1"):
        RateOptions(models=("own", "wait-1"))
