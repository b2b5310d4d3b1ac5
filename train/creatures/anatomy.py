"""A creature's pose, and the closed outlines of its parts in that pose, from back to front.

The body's own axes have their origin at its middle, x towards the head, y down.
Lengths are fractions of the image's side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # (N, 2): x, y

LEG_SWING = 0.38  # radians to each side


@dataclass(frozen=True, kw_only=True)
class Pose:
    """What a translation must keep: where and how the creature stands, how it is built, and the backdrop's grey.

    x, y (the body's middle) and lengths are fractions of the image's side, lengths before `scale` is applied;
    angles are in radians.
    """

    x: float
    y: float
    scale: float
    facing: int  # 1 to the right, -1 to the left
    tilt: float
    leg_phase: float
    body_length: float
    body_height: float
    leg_length: float
    head_size: float
    head_lift: float
    ear_length: float
    ear_width: float
    tail_length: float
    tail_lift: float
    backdrop: float


@dataclass(frozen=True)
class Part:
    """A closed outline in the image's axes, the name of its paint, and whether a dark line runs around it."""

    points: Points
    paint: str
    lined: bool = True


def anatomy(pose: Pose) -> list[Part]:
    """Every part of the creature from back to front."""
    half_length, half_height, radius = pose.body_length / 2, pose.body_height / 2, pose.head_size / 2
    x, y = half_length * 0.88, -half_height * 0.55 - pose.head_lift  # the head's middle
    eye_x, eye_y = x + radius * 0.34, y - radius * 0.12
    parts = [
        Part(_leg(pose, at=0.52, phase=math.pi), "far coat"),
        Part(_leg(pose, at=-0.50, phase=0.0), "far coat"),
        Part(_tail(pose), "coat"),
        Part(_ear(pose, x, y, behind=-0.10), "shade"),
        Part(_ellipse(0.0, 0.0, half_length, half_height), "coat"),
        Part(_leg(pose, at=0.60, phase=0.0), "coat"),
        Part(_leg(pose, at=-0.60, phase=math.pi), "coat"),
        Part(_ellipse(0.0, 0.0, half_length * 0.93, half_height * 0.9), "coat", lined=False),  # hides the hips' lines
        Part(_ellipse(x, y, radius * 1.08, radius), "face"),
        Part(_ellipse(x + radius * 0.55, y + radius * 0.36, radius * 0.5, radius * 0.42), "muzzle", lined=False),
        Part(_ear(pose, x, y, behind=0.30), "face"),
        Part(_ellipse(eye_x, eye_y, radius * 0.24, radius * 0.31), "black", lined=False),
        Part(_ellipse(eye_x + radius * 0.08, eye_y - radius * 0.12, radius * 0.1, radius * 0.1), "white", lined=False),
        Part(_ellipse(x + radius * 1.05, y + radius * 0.22, radius * 0.19, radius * 0.15), "black", lined=False),
    ]
    return [Part(_placed(part.points, pose), part.paint, part.lined) for part in parts]


def extent(pose: Pose) -> tuple[float, float, float, float]:
    """The least and greatest x and y of the creature: left, top, right, bottom."""
    points = np.concatenate([part.points for part in anatomy(pose)])
    left, top = points.min(axis=0)
    right, bottom = points.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def _placed(points: Points, pose: Pose) -> Points:
    """The points converted from the body's axes to the image's."""
    cosine, sine = math.cos(pose.tilt), math.sin(pose.tilt)
    x = points[:, 0] * cosine + points[:, 1] * sine
    y = -points[:, 0] * sine + points[:, 1] * cosine
    return np.stack([pose.x + pose.facing * pose.scale * x, pose.y + pose.scale * y], axis=1)


def _ellipse(x: float, y: float, half_width: float, half_height: float, turn: float = 0.0) -> Points:
    angles = np.linspace(0.0, math.tau, 48, endpoint=False)
    across, down = half_width * np.cos(angles), half_height * np.sin(angles)
    cosine, sine = math.cos(turn), math.sin(turn)
    return np.stack([x + across * cosine - down * sine, y + across * sine + down * cosine], axis=1)


def _ribbon(spine: Points, half_widths: NDArray[np.float64]) -> Points:
    """The outline of a line with a round end, given half its width at every point."""
    direction = np.gradient(spine, axis=0)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    normal = np.stack([-direction[:, 1], direction[:, 0]], axis=1)
    left, right = spine + normal * half_widths[:, None], spine - normal * half_widths[:, None]
    angles = np.linspace(0.0, math.pi, 9)[1:-1, None]
    end = spine[-1] + half_widths[-1] * (np.cos(angles) * normal[-1] + np.sin(angles) * direction[-1])
    return np.concatenate([left, end, right[::-1]])


def _leg(pose: Pose, at: float, phase: float) -> Points:
    """A leg that swings about its hip; `at` is the hip's place along the body, -1 at the tail, 1 at the chest."""
    angle = LEG_SWING * math.sin(pose.leg_phase + phase)
    lift = 0.025 * max(0.0, math.cos(pose.leg_phase + phase))
    hip = np.array([at * pose.body_length / 2, pose.body_height * 0.18])
    reach = pose.body_height * 0.30 + pose.leg_length - lift
    foot = hip + reach * np.array([math.sin(angle), math.cos(angle)])
    spine = hip + np.linspace(0.0, 1.0, 6)[:, None] * (foot - hip)
    return _ribbon(spine, np.linspace(0.055, 0.042, 6))


def _tail(pose: Pose) -> Points:
    along = np.linspace(0.0, 1.0, 14)
    bend = pose.tail_lift + 1.5 * along
    pieces = np.stack([-np.cos(bend), -np.sin(bend)], axis=1) * (pose.tail_length / 13)
    root = np.array([-pose.body_length * 0.44, -pose.body_height * 0.12])
    return _ribbon(root + np.cumsum(pieces, axis=0), 0.022 + 0.018 * along)


def _ear(pose: Pose, head_x: float, head_y: float, behind: float) -> Points:
    """An ear that grows out of the head, `behind` times the head's radius behind the head's middle."""
    radius = pose.head_size / 2
    x, y = head_x - behind * radius, head_y - radius * 0.75 - pose.ear_length * 0.35
    return _ellipse(x, y, pose.ear_width / 2, pose.ear_length / 2 + 0.02, turn=-0.35 * behind)
