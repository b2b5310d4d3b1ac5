"""Creatures drawn from numbers: a pose is the content, a domain the pattern, a colour the style.

    image, silhouette = draw_creature(pose, coat, size=64)

The three are independent of each other, so what a translation keeps (pose, backdrop), what it changes (pattern, range
of colours) and what it takes from a style (the colour) can be measured apart. The backdrop is a grey that varies little
and alike in every domain: whatever varies within a domain is style to the network, and only the coat should be.

A creature is painted twice, in the coat's colour and in the markings' colour, and the pattern picks between the two.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from starcast.train.creatures.anatomy import anatomy, extent

Coordinates = NDArray[np.float64]
Colour = tuple[float, float, float]  # red, green, blue in 0..255

SUPERSAMPLING = 4  # the painting is this much larger than the image, then averaged
FIXED_POINT = 4  # fractional bits of OpenCV's integer coordinates: whole numbers paint alike on every machine
LINE = 0.017  # width of the dark line around every part
MARGIN = 0.04  # between a creature and the image's edge; its line needs a part of it
STRAY = 0.07  # how far from the image's middle a creature may stand
STRIDES = 2  # of a walking creature, a second
WALKING_SPEED = 0.04  # of the image's side, a second
WHITE: Colour = (250.0, 248.0, 244.0)
CREAM: Colour = (255.0, 246.0, 190.0)
BLACK: Colour = (28.0, 24.0, 30.0)


@dataclass(frozen=True, kw_only=True)
class Pose:
    """What a translation must keep: where and how the creature stands, how it is built, and the backdrop's grey.

    x, y (the body's middle) and lengths are fractions of the image's side, lengths before `scale`; angles are radians.
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


@dataclass(frozen=True, kw_only=True)
class Coat:
    """What a translation changes: the domain's pattern and the colour.

    `period` is a fraction of the image's side before the pose's scale; phases are in periods, 0..1.
    """

    domain: str
    colour: Colour
    period: float
    phase_u: float
    phase_v: float


def _fraction(values: Coordinates) -> Coordinates:
    """What is left above the next lower whole number; `%` takes five times as long."""
    return values - np.floor(values)


def _stripes(u: Coordinates, v: Coordinates) -> NDArray[np.bool_]:
    return _fraction(u + 0.35 * v * v) < 0.46


def _spots(u: Coordinates, v: Coordinates) -> NDArray[np.bool_]:
    row = np.floor(v)
    across = _fraction(u + 0.5 * row) - 0.5
    down = v - row - 0.5
    return across * across + down * down < 0.35**2


def _checks(u: Coordinates, v: Coordinates) -> NDArray[np.bool_]:
    return np.equal(_fraction(u) < 0.5, _fraction(v) < 0.5)


@dataclass(frozen=True)
class CreatureDomain:
    """A pattern, its mean period, the two ends of the coat's colours, and what is mixed into them for the markings."""

    pattern: Callable[[Coordinates, Coordinates], NDArray[np.bool_]]
    period: float
    first: Colour
    last: Colour
    marking: Colour
    marking_share: float
    random_v: bool = True  # stripes bend about the spine, and about nothing else


# alphabetical, as training orders domains unless it is told otherwise
DOMAINS: dict[str, CreatureDomain] = {
    "checked": CreatureDomain(_checks, 0.150, (40, 44, 168), (112, 198, 252), BLACK, 0.66),
    "spotted": CreatureDomain(_spots, 0.115, (22, 104, 60), (196, 216, 66), CREAM, 0.80),
    "striped": CreatureDomain(_stripes, 0.120, (164, 22, 40), (255, 166, 70), BLACK, 0.74, random_v=False),
}

# low and high of every number of a pose but its place and its direction
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
    values: dict[str, Any] = {name: _between(random, low, high) for name, (low, high) in POSES.items()}
    pose = Pose(x=0.0, y=0.0, facing=1 if random.random() < 0.5 else -1, **values)
    left, top, right, bottom = extent(pose)
    room = 1.0 - 2 * MARGIN
    too_large = max(1.0, (right - left) / room, (bottom - top) / room)
    pose = dataclasses.replace(pose, scale=math.floor(pose.scale / too_large * 1000) / 1000)
    left, top, right, bottom = extent(pose)
    return dataclasses.replace(pose, x=_placed(random, left, right), y=_placed(random, top, bottom))


def _placed(random: np.random.Generator, low: float, high: float) -> float:
    """Where the body's middle goes along one axis, for a creature that reaches from low to high about it."""
    centred = 0.5 - (low + high) / 2
    play = min(STRAY, (1.0 - 2 * MARGIN - (high - low)) / 2)
    return _between(random, centred - play, centred + play)


def random_coat(random: np.random.Generator, domain: str) -> Coat:
    """A coat of a domain: its colour lies near the line between the two ends of the domain's range."""
    facts = DOMAINS[domain]
    along = random.random()
    red, green, blue = (
        round(min(255.0, max(0.0, first + along * (last - first) + _between(random, -9, 9))), 1)
        for first, last in zip(facts.first, facts.last, strict=True)
    )
    return Coat(
        domain=domain,
        colour=(red, green, blue),
        period=_between(random, 0.9 * facts.period, 1.1 * facts.period),
        phase_u=_between(random, 0, 1),
        phase_v=_between(random, 0, 1) if facts.random_v else 0.0,
    )


def _between(random: np.random.Generator, low: float, high: float) -> float:
    """Rounded, so that the facts written as JSON draw the same picture."""
    return round(low + (high - low) * random.random(), 4)


def draw_creature(pose: Pose, coat: Coat, size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The picture (size, size, 3) in RGB, and the silhouette (size, size): pixels at least half covered."""
    side = size * SUPERSAMPLING
    plain = np.full((side, side, 3), round(pose.backdrop), np.uint8)
    marked = plain.copy()
    covered = np.zeros((side, side), np.uint8)
    paints = _paints(coat)
    for part in anatomy(pose):
        corners = np.round(part.points * (side << FIXED_POINT) - (1 << FIXED_POINT) / 2).astype(np.int32)
        colour, marking = paints[part.paint]
        line = paints["line"][0] if part.lined else None
        _paint(plain, corners, colour, line)
        _paint(marked, corners, marking, line)
        _paint(covered, corners, WHITE, WHITE if part.lined else None)
    cv2.copyTo(marked, _pattern(pose, coat, side).astype(np.uint8), plain)
    return _reduced(plain), _reduced(covered) >= WHITE[0] / 2


def _paints(coat: Coat) -> dict[str, tuple[Colour, Colour]]:
    """Every part's paint, as it is beside the markings and within them."""
    facts = DOMAINS[coat.domain]
    marking = _mix(coat.colour, facts.marking, facts.marking_share)
    line = _mix(coat.colour, BLACK, 0.80)
    shade = _mix(coat.colour, line, 0.4)
    muzzle = _mix(coat.colour, WHITE, 0.62)
    return {
        "coat": (coat.colour, marking),
        "far coat": (shade, _mix(shade, marking, 0.5)),
        "shade": (shade, shade),
        "face": (coat.colour, coat.colour),
        "muzzle": (muzzle, muzzle),
        "line": (line, line),
        "black": (BLACK, BLACK),
        "white": (WHITE, WHITE),
    }


def _mix(colour: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(colour, other, strict=True))
    return (red, green, blue)


def _paint(canvas: NDArray[np.uint8], corners: NDArray[np.int32], colour: Colour, line: Colour | None) -> None:
    if line is not None:
        width = max(1, round(LINE * len(canvas)))
        cv2.polylines(canvas, [corners], True, line, width, cv2.LINE_8, FIXED_POINT)
    cv2.fillPoly(canvas, [corners], colour, cv2.LINE_8, FIXED_POINT)


def _reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mean of every square of SUPERSAMPLING pixels; sums of whole numbers are exact, so it is alike everywhere."""
    size = len(image) // SUPERSAMPLING
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def _pattern(pose: Pose, coat: Coat, side: int) -> NDArray[np.bool_]:
    """Where the markings lie: the domain's pattern in the body's own axes, so that it turns and grows with it."""
    centres = (np.arange(side) + 0.5) / side
    x, y = centres[None, :] - pose.x, centres[:, None] - pose.y
    cosine, sine = math.cos(pose.tilt), math.sin(pose.tilt)
    unit = pose.scale * coat.period
    u = x * (pose.facing * cosine / unit) - y * (sine / unit) + coat.phase_u
    v = x * (pose.facing * sine / unit) + y * (cosine / unit) + coat.phase_v
    return DOMAINS[coat.domain].pattern(u, v)


def walking(pose: Pose, seconds: float) -> Pose:
    """The same creature after so many seconds of walking to and fro: bobbing, wagging and turning."""
    level = dataclasses.replace(pose, tilt=0.0, scale=0.95 * pose.scale)
    left, top, right, bottom = extent(level)
    play = 0.48 - MARGIN - max(level.x - left, right - level.x)  # to either side; the tail needs a little when it wags
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
