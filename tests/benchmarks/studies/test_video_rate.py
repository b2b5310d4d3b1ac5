"""The studies of the rate and the memory of `starcast video`: what they count as the limit, and as growth."""

from __future__ import annotations

import time

import numpy as np
import pytest

from starcast.benchmarks.studies.video_memory import growth_of, growth_over_films
from starcast.benchmarks.studies.video_rate import Cost, compute, limit_of, stand_in


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
    assert stand_in("sleep", 5)(None, images, None) is images
    assert time.perf_counter() - start >= 0.010
    cpu = time.thread_time()
    compute(0.010)
    assert time.thread_time() - cpu >= 0.010
