"""The square of a face does not jitter, follows real motion without lag, and starts over at a cut."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starcast.runtime.faces.steady import AHEAD, Pose, Steadier, matrix_of, pose_of

RATES = [Fraction(10), Fraction(24), Fraction(30000, 1001), Fraction(60), Fraction(240)]


def steady(rate, poses, times=None):
    """The steadied poses of one face; None where it has none."""
    steadier = Steadier(rate)
    times = [i / float(rate) for i in range(len(poses))] if times is None else times
    ready = []
    for index, (time, pose) in enumerate(zip(times, poses, strict=True)):
        known = pose if isinstance(pose, dict) else {} if pose is None else {0: pose}
        ready += steadier.add(index, time, known)
    ready += steadier.finish()
    assert [index for index, _ in ready] == list(range(len(poses)))
    return [found for _, found in ready]


def of_face(found, number=0):
    return [one.get(number) for one in found]


@given(
    st.floats(math.log(20), math.log(2000)), st.floats(-3.1, 3.1), st.floats(-500, 4000), st.floats(-500, 4000),
    st.sampled_from([64, 256, 512]),
)  # fmt: skip
def test_a_pose_and_its_matrix_are_the_same(log_side, angle, x, y, size):
    pose = Pose(log_side, angle, x, y)
    again = pose_of(matrix_of(pose, size), size)
    np.testing.assert_allclose(
        [again.log_side, math.remainder(again.angle - angle, math.tau), again.x, again.y], [log_side, 0, x, y],
        atol=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_a_still_face_jitters_by_at_most_a_tenth_of_the_noise(rate):
    random = np.random.default_rng(3)
    noise = random.standard_normal((400, 2))  # pixels
    found = of_face(steady(rate, [Pose(math.log(200), 0.0, 500 + x, 300 + y) for x, y in noise]))
    middle = np.array([[pose.x, pose.y] for pose in found])[AHEAD:-AHEAD]
    jitter = np.diff(middle, axis=0).std() / np.diff(noise, axis=0).std()
    assert jitter <= 0.1


@pytest.mark.parametrize("rate", RATES, ids=str)
@settings(max_examples=20, deadline=None)
@given(
    st.floats(-900, 900), st.floats(-900, 900), st.floats(-3, 3), st.floats(-1, 1), st.integers(2, 60),
)  # fmt: skip
def test_an_even_motion_has_no_lag(rate, across, down, turn, growth, frames):
    """From the first frame to the last."""
    times = np.arange(frames) / float(rate)
    poses = [Pose(5 + growth * t, turn * t, across * t, down * t) for t in times]
    for pose, truth in zip(of_face(steady(rate, poses)), poses, strict=True):
        np.testing.assert_allclose(
            [pose.log_side, math.remainder(pose.angle - truth.angle, math.tau), pose.x, pose.y],
            [truth.log_side, 0, truth.x, truth.y], atol=1e-6,
        )  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 1000), st.floats(3, 6)), min_size=1, max_size=40))
def test_a_square_is_never_farther_than_a_25th_of_its_side_from_where_the_face_was_found(places):
    poses = [Pose(size, 0.0, x, y) for x, y, size in places]
    for pose, truth in zip(of_face(steady(Fraction(25), poses)), poses, strict=True):
        assert math.hypot(pose.x - truth.x, pose.y - truth.y) <= 0.04 * truth.side + 1e-6


def test_nothing_from_before_a_cut_counts():
    before, after = Pose(5.0, 0.0, 100, 100), Pose(5.5, 0.3, 900, 500)
    found = steady(Fraction(25), [{0: before}] * 20 + [{1: after}] * 20)
    for one in found[:20]:
        assert list(one) == [0]
        np.testing.assert_allclose([one[0].x, one[0].y], [100, 100])
    for one in found[20:]:
        assert list(one) == [1]
        np.testing.assert_allclose([one[1].x, one[1].y, one[1].angle], [900, 500, 0.3])


@pytest.mark.parametrize("missing", [1, 3, 4])
def test_a_face_that_is_missing_from_a_few_frames_goes_on(missing):
    poses = [Pose(5.0, 0.0, 10.0 * i, 50) for i in range(30)]
    known = [None if 12 <= i < 12 + missing else pose for i, pose in enumerate(poses)]
    found = of_face(steady(Fraction(25), known))
    np.testing.assert_allclose([pose.x for pose in found], [pose.x for pose in poses], atol=1e-6)


def test_a_face_that_is_missing_for_long_has_no_square_there():
    poses = [Pose(5.0, 0.0, 100, 50)] * 10 + [None] * 20 + [Pose(5.0, 0.0, 100, 50)] * 10
    found = of_face(steady(Fraction(25), poses))
    assert [pose is None for pose in found] == [pose is None for pose in poses]


def test_a_turn_past_half_a_circle_goes_on_the_short_way():
    angles = [math.pi - 0.05 * (10 - i) for i in range(20)]
    poses = [Pose(5.0, math.remainder(angle, math.tau), 100, 50) for angle in angles]
    for pose, angle in zip(of_face(steady(Fraction(25), poses)), angles, strict=True):
        assert abs(math.remainder(pose.angle - angle, math.tau)) < 1e-6


def test_a_few_frames_wait_at_most_however_slow_their_times():
    steadier = Steadier(Fraction(25))
    for index in range(100):
        ready = list(steadier.add(index, 1e-6 * index, {0: Pose(5.0, 0.0, 1, 1)}))
        assert len(ready) == (1 if index >= AHEAD else 0)
    assert len(list(steadier.finish())) == AHEAD


def test_uneven_times_are_no_motion():
    """A variable rate: an even motion stays even by the clock."""
    times = np.cumsum(np.random.default_rng(1).choice([1 / 60, 1 / 30, 1 / 12], 60))
    poses = [Pose(5.0, 0.0, 300 * t, 50) for t in times]
    found = of_face(steady(Fraction(30), poses, times))
    np.testing.assert_allclose([pose.x for pose in found], [pose.x for pose in poses], atol=1e-6)
