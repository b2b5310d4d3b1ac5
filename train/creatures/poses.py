"""How a creature stands: drawn at random, or walking to and fro."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from starcast.train.creatures.anatomy import Pose, extent

MARGIN = 0.04  # between a creature and the image's edge; the line around the creature uses part of it
STRAY = 0.07  # how far from the image's middle a creature may stand
STRIDES = 2  # of a walking creature, per second
WALKING_SPEED = 0.04  # fraction of the image's side per second

# lowest and highest value of each part of a pose except place and direction
POSES: dict[str, tuple[float, float]] = {
    "scale": (0.98, 1.22),
    "tilt": (-0.16, 0.16),
    "leg_phase": (0.0, math.tau),
    "body_length": (0.36, 0.46),
    "body_height": (0.22, 0.29),
    "leg_length": (0.11, 0.17),
    "head_size": (0.20, 0.25),
    "head_lift": (0.05, 0.12),
    "ear_length": (0.07, 0.15),
    "ear_width": (0.065, 0.10),
    "tail_length": (0.13, 0.20),
    "tail_lift": (-0.3, 1.1),
    "backdrop": (194.0, 206.0),
}


def random_pose(random: np.random.Generator) -> Pose:
    """A pose whose creature lies wholly inside the image."""
    values: dict[str, Any] = {name: between(random, low, high) for name, (low, high) in POSES.items()}
    pose = Pose(x=0.0, y=0.0, facing=1 if random.random() < 0.5 else -1, **values)
    left, top, right, bottom = extent(pose)
    room = 1.0 - 2 * MARGIN
    too_large = max(1.0, (right - left) / room, (bottom - top) / room)
    pose = dataclasses.replace(pose, scale=math.floor(pose.scale / too_large * 1000) / 1000)
    left, top, right, bottom = extent(pose)
    return dataclasses.replace(pose, x=_placed(random, left, right), y=_placed(random, top, bottom))


def _placed(random: np.random.Generator, low: float, high: float) -> float:
    """A random place for the body's middle on one axis; the creature reaches from `low` to `high` around it."""
    centred = 0.5 - (low + high) / 2
    play = min(STRAY, (1.0 - 2 * MARGIN - (high - low)) / 2)
    return between(random, centred - play, centred + play)


def between(random: np.random.Generator, low: float, high: float) -> float:
    """A random number from low to high, rounded so that the facts written as JSON draw the same image."""
    return round(low + (high - low) * random.random(), 4)


def walk(pose: Pose, seconds: float) -> Pose:
    """The same creature after walking to and fro for some seconds: bobbing, wagging and turning."""
    level = dataclasses.replace(pose, tilt=0.0, scale=0.95 * pose.scale)
    left, top, right, bottom = extent(level)
    play = 0.48 - MARGIN - max(level.x - left, right - level.x)  # to either side; a wagging tail needs a little room
    direction, x = 1, 0.5 + level.x - (left + right) / 2
    if play > 0.02:  # else it walks on the spot
        laps = WALKING_SPEED * seconds / (2 * play)
        direction = 1 if math.floor(laps) % 2 == 0 else -1
        x = 0.5 + pose.facing * direction * play * (2 * (laps - math.floor(laps)) - 1)
    stride = math.tau * STRIDES * seconds
    return dataclasses.replace(
        level,
        x=x,
        y=0.5 + level.y - (top + bottom) / 2 - 0.008 * abs(math.sin(stride)),
        facing=pose.facing * direction,
        tilt=0.035 * math.sin(stride),
        leg_phase=stride,
        tail_lift=pose.tail_lift + 0.25 * math.sin(stride / 2),
    )
