"""How many rounds there are, and which rows, when the time is short."""

from __future__ import annotations

import pytest

from starcast.benchmarks.bench.pace import Pace


@pytest.mark.parametrize(("done", "more"), [(0, True), (8, True), (9, False)])
def test_without_a_time_there_are_as_many_rounds_as_were_asked_for(done, more):
    assert Pace(rounds=9).goes_on(done, 1e6) is more


def test_a_round_begins_only_if_it_ends_in_time():
    pace = Pace(rounds=9, seconds=60)
    assert pace.goes_on(4, 48)  # 12 s each: the fifth ends at 60
    assert not pace.goes_on(4, 49)


def test_three_rounds_are_made_however_late_it_is():
    pace = Pace(rounds=9, seconds=10)
    assert pace.goes_on(2, 1000)
    assert not pace.goes_on(3, 1000)


def test_fewer_rounds_than_three_may_be_asked_for():
    assert not Pace(rounds=1, seconds=10).goes_on(1, 0.1)


def test_the_slowest_rows_go_until_three_rounds_fit():
    turns = {"eager": 4.0, "compiled": 9.0, "bf16": 30.0, "ours": 1.0}
    assert Pace(rounds=9, seconds=45).too_slow(turns, "eager") == ["bf16"]
    assert Pace(rounds=9, seconds=30).too_slow(turns, "eager") == ["bf16", "compiled"]
    assert Pace(rounds=9, seconds=200).too_slow(turns, "eager") == []
    assert Pace(rounds=9).too_slow(turns, "eager") == []


def test_the_baseline_and_one_row_stay_even_if_they_are_late():
    assert Pace(rounds=9, seconds=0).too_slow({"eager": 4.0, "ours": 1.0, "other": 2.0}, "eager") == ["other"]


def test_what_loading_took_is_taken_from_the_time():
    assert Pace(rounds=9, seconds=60).after(45) == Pace(rounds=9, seconds=15)
    assert Pace(rounds=9).after(45) == Pace(rounds=9)
