"""When a warm-up ends, how many samples there are, and which percentiles they allow."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from starcast.benchmarks.bench.method import ONE_RUN, Method, Pace, agree, percentile_ms, take_samples, warm_up


class Machine:
    """A clock that only runs move, each by its seconds."""

    def __init__(self, seconds):
        self.now, self.runs = 0.0, 0
        self._seconds = iter(seconds)

    def run(self):
        self.now += next(self._seconds)
        self.runs += 1

    def clock(self):
        return self.now


METHOD = Method(warm_up_s=0.2, agreement=0.05, window_s=3.0, window_samples=100, longest_s=20.0)


def test_a_steady_row_is_warm_after_the_least_time():
    machine = Machine(itertools.repeat(0.01))
    assert warm_up(machine.run, METHOD, machine.clock)
    assert 0.2 <= machine.now < 0.25


def test_a_row_that_becomes_faster_is_run_until_two_windows_agree():
    machine = Machine(
        itertools.chain(itertools.accumulate([1.0] + [0.8] * 12, lambda a, b: a * b), itertools.repeat(0.06))
    )
    assert warm_up(machine.run, METHOD, machine.clock)
    assert machine.runs > 13


def test_a_row_that_never_becomes_steady_says_so_and_ends():
    machine = Machine(itertools.cycle([0.15, 0.2]))
    assert not warm_up(machine.run, METHOD, machine.clock)
    assert 20 <= machine.now < 21


def test_a_row_that_had_its_turn_before_is_not_waited_for_as_long():
    machine = Machine(itertools.cycle([0.15, 0.2]))
    assert not warm_up(machine.run, METHOD.warm(), machine.clock)
    assert 2 <= machine.now < 3
    assert METHOD.warm().longest_s == METHOD.longest_s


def test_samples_are_taken_until_there_are_enough_and_enough_time_has_passed():
    fast, slow = Machine(itertools.repeat(0.001)), Machine(itertools.repeat(0.1))
    assert len(take_samples(fast.run, METHOD, fast.clock)) == pytest.approx(3000, abs=1)
    assert len(take_samples(slow.run, METHOD, slow.clock)) == 100


def test_a_row_that_is_very_slow_ends_its_window_with_what_it_has():
    machine = Machine(itertools.repeat(7.0))
    assert take_samples(machine.run, METHOD, machine.clock) == [7.0] * 3
    hours = Machine(itertools.repeat(3600.0))
    assert take_samples(hours.run, METHOD, hours.clock) == [3600.0]


def test_rounds_share_a_window():
    shared = METHOD.for_rounds(9)
    assert shared.window_s * 9 == pytest.approx(METHOD.window_s)
    assert shared.window_samples == 12  # 9 * 12 >= 100
    assert (shared.warm_up_s, shared.longest_s) == (METHOD.warm_up_s, METHOD.longest_s)


def test_a_turn_of_one_run_has_one_untimed_and_one_timed_run_however_many_rounds_there_are():
    machine = Machine([5.0, 0.25])
    turn = ONE_RUN.for_rounds(9).warm()
    assert warm_up(machine.run, turn, machine.clock)
    assert take_samples(machine.run, turn, machine.clock) == [0.25]
    assert machine.runs == 2


def test_the_default_method_is_long_enough_for_a_99th_percentile():
    assert Method().window_samples >= 1000
    assert Method().window_s >= 3


def test_two_times_agree_within_a_part_of_the_smaller():
    assert agree(1.0, 1.04, 0.05)
    assert agree(1.04, 1.0, 0.05)
    assert not agree(1.0, 1.06, 0.05)


def test_percentiles_are_milliseconds_and_a_99th_wants_a_thousand_samples():
    samples = np.linspace(0.001, 0.1, 1000).tolist()
    assert percentile_ms(samples, 50) == pytest.approx(50.5)
    assert percentile_ms(samples, 99) == pytest.approx(1 + 99 * 0.99)
    assert percentile_ms(samples[:-1], 99) is None
    assert percentile_ms(samples[:-1], 95) is not None
    assert percentile_ms([], 50) is None


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
