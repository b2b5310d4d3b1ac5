"""Steady the squares of faces in a film, so that they follow a face's motion and not the noise of finding it.

A square's place is averaged over a fifth of a second before a frame and as much after it, by a local linear fit, so a
face in steady motion is followed without lag. A causal filter (one-euro) would need no later frames, but either lags
behind a moving face or lets a still one jitter. Frames wait in memory for later ones, at most AHEAD of them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from starcast.runtime.faces.similarity import Matrix, scale_of

AHEAD = 12  # frames that wait for later ones, at most
_REACH_S = 0.2  # seconds before and after a frame that count
_LEAST_FRAMES = 6  # so many frames at low rates: five before and five after a frame
_FARTHEST = 0.04  # of the square's side: a steadied square is never farther from where its face was found

Frame = TypeVar("Frame")


class Pose(msgspec.Struct, frozen=True):
    """Where a square lies in a frame: the logarithm of its side in pixels, its angle in radians, clockwise as it is
    seen, and its centre in pixels."""

    log_side: float
    angle: float
    x: float
    y: float

    @property
    def side(self) -> float:
        return math.exp(self.log_side)


def pose_of(matrix: Matrix, size: int) -> Pose:
    """The pose of the square of `size` pixels that `matrix`, a similarity, maps the frame to."""
    middle = (size - 1) / 2
    x, y, _ = np.linalg.solve(matrix, np.array([middle, middle, 1.0]))
    angle = -math.atan2(matrix[1, 0], matrix[0, 0])
    return Pose(math.log(size / scale_of(matrix)), angle, float(x), float(y))


def matrix_of(pose: Pose, size: int) -> Matrix:
    """The matrix from the frame to the square of that pose, `size` pixels a side."""
    scale = size / pose.side
    cosine, sine = scale * math.cos(pose.angle), scale * math.sin(pose.angle)
    middle = (size - 1) / 2
    turn = np.array([[cosine, sine], [-sine, cosine]])
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    matrix[:2, 2] = middle - turn @ np.array([pose.x, pose.y])
    return matrix


class _Waiting(msgspec.Struct, Generic[Frame], frozen=True):
    """A frame, its time in seconds, and the squares of the faces that were found in it, by their numbers."""

    frame: Frame
    time: float
    poses: Mapping[int, Pose]


class Steadier(Generic[Frame]):
    """Steadies the squares of a film's faces, frame by frame.

    `add` takes each frame with its time and poses, and returns the frames that are ready, in order, with their
    steadied poses; `finish` returns the last ones. Each face has a number, which changes at a cut, so
    that nothing from before the cut counts. A face that is missing from a few frames has a pose there, too, if it
    is found again. Frames go through it unchanged, and equal inputs give equal poses.
    """

    def __init__(self, rate: Fraction) -> None:
        per_frame = 1 / float(rate)
        self._reach = min(max(_REACH_S, _LEAST_FRAMES * per_frame), AHEAD * per_frame)
        self._before: deque[_Waiting[None]] = deque()
        self._waiting: deque[_Waiting[Frame]] = deque()

    def add(self, frame: Frame, time: float, poses: Mapping[int, Pose]) -> Iterator[tuple[Frame, dict[int, Pose]]]:
        """Add the next frame. Its time must not be before that of the last one."""
        self._waiting.append(_Waiting(frame, time, poses))
        while len(self._waiting) > AHEAD or self._waiting[0].time + self._reach <= time:
            yield self._take()

    def finish(self) -> Iterator[tuple[Frame, dict[int, Pose]]]:
        """The frames that still wait."""
        while self._waiting:
            yield self._take()

    def state(self) -> dict[str, NDArray[np.float64]]:
        """The frames around the one that is taken next, without their pixels."""
        return {**_as_arrays("before", self._before), **_as_arrays("waiting", self._waiting)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> list[tuple[float, dict[int, Pose]]]:
        """Go on from what `state` returned. Gives the time and the poses of the frames that were waiting: they come
        again, with `add`."""
        self._before = deque(_Waiting(None, time, poses) for time, poses in _from_arrays("before", state))
        return list(_from_arrays("waiting", state))

    def _take(self) -> tuple[Frame, dict[int, Pose]]:
        first = self._waiting[0]
        while self._before and self._before[0].time <= first.time - self._reach:
            self._before.popleft()
        window = [(one.time - first.time, one.poses) for one in self._before]
        window += [(one.time - first.time, one.poses) for one in self._waiting]
        numbers = dict.fromkeys(number for _, known in window for number in known)
        poses = {number: pose for number in numbers if (pose := self._pose(window, number, first.poses)) is not None}
        self._waiting.popleft()
        self._before.append(_Waiting(None, first.time, first.poses))
        return first.frame, poses

    def _pose(
        self, window: Sequence[tuple[float, Mapping[int, Pose]]], number: int, poses: Mapping[int, Pose]
    ) -> Pose | None:
        """The steadied pose of a face at time 0 of the window, in a frame with `poses`; None if it is not there."""
        known = [(time, each[number]) for time, each in window if number in each]
        here = poses.get(number)
        if here is None:
            before = max((time for time, _ in known if time < 0), default=-math.inf)
            after = min((time for time, _ in known if time > 0), default=math.inf)
            if after - before > self._reach:
                return None
        near = [(time, pose) for time, pose in known if abs(time) < self._reach]
        steady = _line(near, self._reach)
        return steady if here is None else _keep_near(here, steady)


def _as_arrays(name: str, frames: Iterable[_Waiting[Any]]) -> dict[str, NDArray[np.float64]]:
    """Times [N], and poses [M, 6]: the frame's place, the face's number, and the pose."""
    listed = list(frames)
    rows = [
        (place, number, *msgspec.structs.astuple(pose))
        for place, one in enumerate(listed)
        for number, pose in one.poses.items()
    ]
    return {
        f"{name} times": np.array([one.time for one in listed], np.float64),
        f"{name} poses": np.array(rows, np.float64).reshape(-1, 6),
    }


def _from_arrays(name: str, state: Mapping[str, NDArray[Any]]) -> Iterator[tuple[float, dict[int, Pose]]]:
    for place, time in enumerate(state[f"{name} times"]):
        rows = (row for row in state[f"{name} poses"] if row[0] == place)
        yield float(time), {int(row[1]): Pose(*map(float, row[2:])) for row in rows}


def _line(known: Sequence[tuple[float, Pose]], reach: float) -> Pose:
    """The pose at time 0 of a straight line through poses at other times. The closer to 0, the more one counts."""
    times = np.array([time for time, _ in known])
    angles = np.unwrap([pose.angle for _, pose in known])
    values = np.array([[pose.log_side, angle, pose.x, pose.y] for (_, pose), angle in zip(known, angles, strict=True)])
    weights = 1 + np.cos(np.pi * times / reach)
    weights /= weights.sum()
    middle, mean = weights @ times, weights @ values
    spread = weights @ (times - middle) ** 2
    slope = (weights * (times - middle)) @ values / spread if spread > 0 else 0.0
    log_side, angle, x, y = map(float, mean - slope * middle)
    return Pose(log_side, angle, x, y)


def _keep_near(found: Pose, steady: Pose) -> Pose:
    """The steadied pose, no farther from the one that was found than _FARTHEST sides."""
    off = math.hypot(steady.x - found.x, steady.y - found.y) / (_FARTHEST * found.side)
    share = 1 / max(1.0, off)
    return Pose(
        found.log_side + _limit(steady.log_side - found.log_side),
        found.angle + _limit(math.remainder(steady.angle - found.angle, math.tau)),
        found.x + share * (steady.x - found.x),
        found.y + share * (steady.y - found.y),
    )


def _limit(change: float) -> float:
    """A change of a side's logarithm, or of an angle, that moves the square's edges as far as _FARTHEST allows."""
    return min(max(change, -2 * _FARTHEST), 2 * _FARTHEST)
