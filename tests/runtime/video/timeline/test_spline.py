from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from starcast.runtime.video.timeline.spline import EASES, HOLD, LINEAR, SMOOTH, Spline

NUMBERS = st.floats(-100, 100, width=32)


@st.composite
def courses(draw):
    """(times, values [K, 3], eases, period or None)"""
    steps = draw(st.lists(st.floats(0.01, 100), min_size=1, max_size=6))
    times = np.cumsum(steps).tolist()
    values = draw(arrays(np.float64, (len(times), 3), elements=NUMBERS))
    eases = draw(st.lists(st.sampled_from(EASES), min_size=len(times), max_size=len(times)))
    period = draw(st.one_of(st.none(), st.floats(0.01, 100).map(lambda rest: times[-1] - times[0] + rest)))
    return times, values, eases, period


@given(courses(), st.booleans())
def test_a_curve_passes_through_every_key_exactly(course, bounded):
    times, values, eases, period = course
    np.testing.assert_array_equal(Spline(times, values, eases, period=period, bounded=bounded).at(times), values)


@given(courses(), st.lists(st.floats(-500, 500), min_size=1, max_size=9))
def test_a_curve_through_equal_keys_does_not_move(course, when):
    times, values, eases, period = course
    same = np.repeat(values[:1], len(times), axis=0)
    curve = Spline(times, same, eases, period=period).at(when)
    np.testing.assert_array_equal(curve, np.repeat(values[:1], len(when), axis=0))


@given(courses(), st.floats(0, 1))
def test_between_two_equal_keys_among_others_a_curve_does_not_move(course, along):
    times, values, eases, period = course
    values = np.repeat(values, 2, axis=0)  # each key twice
    doubled = [time for time in times for time in (time, time + 0.005)]
    spline = Spline(doubled, values, [ease for ease in eases for _ in range(2)], period=period and period + 0.005)
    for number, time in enumerate(times):
        np.testing.assert_array_equal(spline.at([time + 0.004 * along])[0], values[2 * number])


@given(courses(), st.floats(0, 1))
def test_a_closed_curve_begins_again_after_its_period(course, along):
    times, values, eases, period = course
    period = period or times[-1] - times[0] + 1
    spline = Spline(times, values, eases, period=period)
    time = times[0] + along * period
    first, second = spline.at([time, time + period])
    np.testing.assert_allclose(second, first, atol=1e-6 * (1 + np.abs(values).max() / min([*np.diff(times), period])))


@given(courses(), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_a_bounded_curve_stays_between_the_numbers_of_its_keys(course, along):
    times, values, eases, period = course
    end = times[0] + (period or times[-1] - times[0])
    curve = Spline(times, values, eases, period=period, bounded=True).at(times[0] + np.array(along) * (end - times[0]))
    assert (curve >= values.min(axis=0) - 1e-9).all()
    assert (curve <= values.max(axis=0) + 1e-9).all()


@given(courses(), st.floats(0, 1))
def test_a_path_bends_by_at_most_a_third_of_a_segment_beyond_its_line(course, along):
    # a cubic whose ends are no faster than the segment: 4/27 + 4/27 of its length
    times, values, _, _ = course
    spline = Spline(times, values, [SMOOTH] * len(times))
    for number in range(len(times) - 1):
        here, there = values[number], values[number + 1]
        point = spline.at([times[number] + along * (times[number + 1] - times[number])])[0]
        line = here + np.linspace(0, 1, 400)[:, None] * (there - here)
        length = np.linalg.norm(there - here)
        assert np.linalg.norm(line - point, axis=1).min() <= (8 / 27 + 0.01) * length + 1e-9


@given(courses())
def test_a_curve_rests_before_its_first_key_and_after_its_last(course):
    times, values, eases, _ = course
    curve = Spline(times, values, eases).at([times[0] - 3, times[-1] + 3])
    np.testing.assert_array_equal(curve, values[[0, -1]])


def test_even_steps_along_a_line_are_a_line_and_the_ends_are_gentle():
    values = np.arange(5.0)[:, None] * [1.0, -2.0]
    spline = Spline(range(5), values, [SMOOTH] * 5)
    np.testing.assert_allclose(spline.at([1.25, 2.5]), [[1.25, -2.5], [2.5, -5]])
    # at rest where it begins: the cubic from speed 0 to speed 1 is u²(2 - u)
    np.testing.assert_allclose(spline.at([0.5])[0], [0.375, -0.75])


@pytest.mark.parametrize(("ease", "half"), [(HOLD, 0.0), (LINEAR, 2.0), (SMOOTH, 0.4375 * 4)])
def test_a_key_says_how_it_leads_to_the_next(ease, half):
    # smooth: from rest to the speed 4/2 of the line behind it, halfway 1/2 - 1/8 * (speed 0.5 of the segment's)
    values = [[0.0], [4.0], [6.0]]
    assert Spline([0, 1, 2], values, [ease, LINEAR, SMOOTH]).at([0.5])[0, 0] == pytest.approx(half)


def test_a_curve_has_one_speed_on_both_sides_of_a_key():
    values = np.random.default_rng(3).standard_normal((6, 4, 8))  # of layers, too
    spline = Spline([0, 1, 4, 4.5, 9, 10], values, [SMOOTH] * 6, period=12)
    for key in (0, 1, 4, 4.5, 9, 10):
        before, at, after = spline.at([key - 1e-6, key, key + 1e-6])
        np.testing.assert_allclose((at - before) / 1e-6, (after - at) / 1e-6, atol=1e-3)
    assert spline.at([0.5]).shape == (1, 4, 8)
