"""Tell the faces of a film apart: which face of a frame is which face of the frames before it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from starcast.runtime.faces.steady import Pose

# how far a square's centre may move, in sides: an allowance for inexact detection, and a limit per second
_AT_ONCE, _PER_S = 0.15, 4.0
_MOST = 0.6  # sides: farther away is another face, however long it was gone
_LOG_SIDE, _LOG_SIDE_PER_S = 0.15, 1.5
_ANGLE, _ANGLE_PER_S = math.radians(20), math.radians(360)
_FORGET_S = 0.5
_CLEARLY_LARGER = math.log(1.4)


class _Seen(msgspec.Struct, frozen=True):
    number: int
    time: float
    pose: Pose


class Follower:
    """Gives each face a number that it keeps from frame to frame. A face that is farther from its last place than a
    face can have moved is another one: a cut.

    With `every`, all faces are followed; otherwise one: the largest, and then the same one until it is gone or another
    one is clearly larger, so that two faces of one size do not take turns.
    """

    def __init__(self, *, every: bool = False) -> None:
        self._every = every
        self._seen: list[_Seen] = []
        self._next = 0  # number

    def tell_apart(self, time: float, poses: Sequence[Pose]) -> dict[int, Pose]:
        """The poses of the next frame by their faces' numbers; `time` in seconds."""
        self._seen = [one for one in self._seen if time - one.time <= _FORGET_S]
        pairs = sorted(
            (distance, one.number, index)
            for one in self._seen
            for index, pose in enumerate(poses)
            if (distance := _distance(one.pose, pose, time - one.time)) <= 1
        )
        numbers: dict[int, int] = {}  # by index of the pose
        for _, number, index in pairs:
            if index not in numbers and number not in numbers.values():
                numbers[index] = number
        chosen = range(len(poses)) if self._every else self._choose(poses, numbers)
        faces = {numbers[index] if index in numbers else self._new_number(): poses[index] for index in chosen}
        self._seen = [one for one in self._seen if one.number not in faces]
        self._seen += [_Seen(number, time, pose) for number, pose in faces.items()]
        return faces

    def state(self) -> dict[str, NDArray[np.float64]]:
        """What the next frame's numbers depend on."""
        rows = [(one.number, one.time, *msgspec.structs.astuple(one.pose)) for one in self._seen]
        return {"seen": np.array(rows, np.float64).reshape(-1, 6), "next": np.array([self._next], np.float64)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` returned."""
        self._seen = [_Seen(int(number), float(time), Pose(*map(float, pose))) for number, time, *pose in state["seen"]]
        self._next = int(state["next"][0])

    def _new_number(self) -> int:
        self._next += 1
        return self._next - 1

    def _choose(self, poses: Sequence[Pose], numbers: dict[int, int]) -> Sequence[int]:
        if not poses:
            return ()
        largest = max(range(len(poses)), key=lambda index: poses[index].log_side)
        known = min(numbers, key=lambda index: numbers[index], default=None)
        if known is None:
            return (largest,)
        if poses[largest].log_side - poses[known].log_side < _CLEARLY_LARGER:
            return (known,)
        self._seen.clear()  # so that the larger one is followed from here on
        return (largest,)


def _distance(before: Pose, now: Pose, seconds: float) -> float:
    """How far a face has moved, as a share of what it can move in that time; more than 1: it is another face."""
    side = math.exp((before.log_side + now.log_side) / 2)
    moved = math.hypot(now.x - before.x, now.y - before.y) / side
    return max(
        moved / min(_AT_ONCE + _PER_S * seconds, _MOST),
        abs(now.log_side - before.log_side) / (_LOG_SIDE + _LOG_SIDE_PER_S * seconds),
        abs(math.remainder(now.angle - before.angle, math.tau)) / (_ANGLE + _ANGLE_PER_S * seconds),
    )
