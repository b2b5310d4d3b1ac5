from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starcast.runtime.video.timing import Clock, as_fraction, ticks

MILLISECOND = Fraction(1, 1000)


def placed(
    times_ms: list[int | None], duration_ms: int = 40, start_ms: int = 0, *, strict: bool = True
) -> list[int]:  # fmt: skip
    clock = Clock(MILLISECOND, start_ms * MILLISECOND, strict=strict)
    times = [None if time is None else time * MILLISECOND for time in times_ms]
    return [clock.place(time, duration_ms * MILLISECOND) for time in times]


def test_increasing_times_stay_as_they_are():
    assert placed([0, 40, 55, 120, 133]) == [0, 40, 55, 120, 133]


def test_the_beginning_of_the_file_is_taken_off():
    assert placed([1400, 1440, 1480], start_ms=1400) == [0, 40, 80]


def test_a_doubled_time_moves_by_one_tick():
    assert placed([0, 40, 40, 80]) == [0, 40, 41, 80]


def test_a_doubled_time_stays_where_the_muxer_takes_equal_times():
    assert placed([0, 40, 40, 80], strict=False) == [0, 40, 40, 80]


def test_a_missing_time_is_the_end_of_what_came_before():
    assert placed([None, None, 200, None]) == [0, 40, 200, 240]


def test_a_step_back_moves_by_one_tick_and_the_rest_stays():
    assert placed([0, 80, 40, 120]) == [0, 80, 81, 120]


@given(st.lists(st.none() | st.integers(-(10**6), 10**6), max_size=50), st.integers(0, 5000))
def test_times_always_increase_and_none_is_left_out(times, duration):
    seen = placed(times, duration)
    assert len(seen) == len(times)
    assert all(early < late for early, late in itertools.pairwise(seen))


@given(st.lists(st.integers(0, 10**7), unique=True, max_size=50))
def test_times_that_increase_are_never_touched(times):
    assert placed(sorted(times)) == sorted(times)


@given(
    st.lists(st.fractions(0, 100, max_denominator=96000), min_size=1, max_size=60),
    st.sampled_from([MILLISECOND, Fraction(1, 90000), Fraction(1001, 30000)]),
)
def test_no_time_is_further_from_its_exact_value_than_those_before_it_force_it_to_be(times, tick):
    clock, times = Clock(tick), sorted(times)
    nearest = [round(time / tick) for time in times]
    # the least strictly increasing ticks that are not before the nearest ones, worked out from all of them at once
    expected = [max(nearest[first] + number - first for first in range(number + 1)) for number in range(len(times))]
    assert [clock.place(time, Fraction(0)) for time in times] == expected


@pytest.mark.parametrize("packet", [Fraction(40, 48000), Fraction(1024, 44100), Fraction(1001, 30000)])
def test_a_hundred_thousand_packets_stay_within_half_a_tick(packet):
    clock = Clock(MILLISECOND, strict=False)
    for number in range(100_000):
        time = number * packet
        assert abs(clock.place(time, packet) * MILLISECOND - time) <= MILLISECOND / 2


def test_packets_shorter_than_the_sources_tick_are_in_place_again_as_soon_as_one_fits():
    clock, tick = Clock(Fraction(1, 48000)), Fraction(1, 48000)
    for number in range(12_000):  # TrueHD in Matroska: 40 samples a packet, in whole milliseconds
        time = round(number * Fraction(40, 48)) * MILLISECOND
        assert 0 <= clock.place(time, Fraction(0)) * tick - time <= tick


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
