from __future__ import annotations

import itertools
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from starcast.runtime.video.timing import Clock, as_fraction, ticks

MILLISECOND = Fraction(1, 1000)


def placed(times: list[int | None], duration: int = 40, start_s: Fraction = Fraction(0)) -> list[int]:
    clock = Clock(MILLISECOND, start_s)
    return [clock.place(time, duration) for time in times]


def test_increasing_times_stay_as_they_are():
    assert placed([0, 40, 55, 120, 133]) == [0, 40, 55, 120, 133]


def test_the_beginning_of_the_file_is_taken_off():
    assert placed([1400, 1440, 1480], start_s=Fraction(7, 5)) == [0, 40, 80]


def test_a_doubled_time_moves_by_one_tick():
    assert placed([0, 40, 40, 80]) == [0, 40, 41, 80]


def test_a_missing_time_is_the_end_of_what_came_before():
    assert placed([None, None, 200, None]) == [0, 40, 200, 240]


def test_a_small_step_back_moves_by_one_tick_and_the_rest_stays():
    assert placed([0, 80, 40, 120]) == [0, 80, 81, 120]


def test_a_clock_that_starts_again_goes_on_where_it_was():
    assert placed([5000, 5040, 0, 40, 80]) == [5000, 5040, 5080, 5120, 5160]


@given(st.lists(st.none() | st.integers(-(10**6), 10**6), max_size=50), st.integers(0, 5000))
def test_times_always_increase_and_none_is_left_out(times, duration):
    seen = placed(times, duration)
    assert len(seen) == len(times)
    assert all(early < late for early, late in itertools.pairwise(seen))


@given(st.lists(st.integers(0, 10**7), unique=True, max_size=50))
def test_times_that_increase_are_never_touched(times):
    assert placed(sorted(times)) == sorted(times)


def test_an_unset_rate_is_none_in_the_spelling_of_every_version():
    class Unset:
        numerator = denominator = 0

        def __bool__(self) -> bool:
            return False

    assert as_fraction(None) is None
    assert as_fraction(Unset()) is None
    assert as_fraction(Fraction(30000, 1001)) == Fraction(30000, 1001)


def test_ticks_are_the_nearest():
    assert ticks(Fraction(1, 25), Fraction(1, 90000)) == 3600
