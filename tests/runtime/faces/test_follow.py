"""A face keeps its number while it moves as faces do; a cut gives it another one."""

import math

from starcast.runtime.faces.follow import Follower
from starcast.runtime.faces.steady import Pose


def face(x, y=100.0, side=100.0, angle=0.0):
    return Pose(math.log(side), angle, x, y)


def numbers(frames, *, every=False, rate=25):
    follower = Follower(every=every)
    return [sorted(follower.tell_apart(index / rate, poses)) for index, poses in enumerate(frames)]


def test_a_face_that_moves_keeps_its_number():
    # two sides of its square a second, while it turns and comes nearer
    assert numbers([[face(8.0 * i, side=100 * 1.02**i, angle=0.1 * i)] for i in range(30)]) == [[0]] * 30


def test_a_face_elsewhere_after_a_cut_is_another_one():
    assert numbers([[face(100)]] * 3 + [[face(170)]] * 3) == [[0]] * 3 + [[1]] * 3
    assert numbers([[face(100)]] * 3 + [[face(100, side=140)]] * 3) == [[0]] * 3 + [[1]] * 3
    assert numbers([[face(100)]] * 3 + [[face(100, angle=1.2)]] * 3) == [[0]] * 3 + [[1]] * 3


def test_a_face_that_was_missing_for_a_moment_is_the_same():
    assert numbers([[face(100)], [], [], [face(104)]]) == [[0], [], [], [0]]


def test_a_face_that_was_gone_for_long_is_another_one():
    assert numbers([[face(100)], *[[]] * 20, [face(100)]])[-1] == [1]


def test_two_faces_of_one_size_do_not_take_turns():
    frames = [[face(100, side=100 + i % 2), face(400, side=101 - i % 2)] for i in range(10)]
    follower = Follower()
    followed = [follower.tell_apart(index / 25, poses) for index, poses in enumerate(frames)]
    assert {pose.x for one in followed for pose in one.values()} == {400.0}


def test_a_clearly_larger_face_is_followed_from_then_on():
    frames = (
        [[face(100)]] * 3 + [[face(100), face(400, side=200)]] * 3 + [[face(100, side=150), face(400, side=180)]] * 3
    )
    assert numbers(frames) == [[0]] * 3 + [[1]] * 6


def test_a_wrong_face_in_one_frame_does_not_replace_the_one_that_is_followed():
    frames = [[face(100)]] * 3 + [[face(700)]] + [[face(100)]] * 3
    assert numbers(frames) == [[0]] * 3 + [[1]] + [[0]] * 3


def test_all_faces_keep_their_numbers_while_they_cross_at_a_distance():
    frames = [[face(100 + 10 * i, 100), face(400 - 10 * i, 250)] for i in range(30)]
    follower = Follower(every=True)
    followed = [follower.tell_apart(index / 25, poses[:: 1 - 2 * (index % 2)]) for index, poses in enumerate(frames)]
    number = min(followed[0])
    assert all(len(one) == 2 for one in followed)
    assert len({one[number].y for one in followed}) == 1
