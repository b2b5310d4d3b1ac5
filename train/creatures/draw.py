"""Creatures drawn from numbers: a pose is the content, a domain the pattern, a colour the style.

    image, silhouette = draw_creature(pose, coat, size=64)

The three are independent of each other, so what a translation keeps (pose, backdrop), what it changes (pattern, range
of colours) and what it takes from a style (the colour) can be measured separately. The backdrop is a grey that varies
little, and equally in every domain: the network learns whatever varies within a domain as style, and only the coat
should be style.

A creature is painted twice, in the coat's colour and in the markings' colour, and the pattern picks between the two.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from starcast.train.creatures.anatomy import Pose, anatomy
from starcast.train.creatures.coats import BLACK, DOMAINS, WHITE, Coat, Colour

SUPERSAMPLING = 4  # painted this many times larger than the image, then averaged
FIXED_POINT = 4  # fractional bits of OpenCV's integer coordinates, which paint the same on every machine
LINE = 0.017  # width of the dark line around every part


def draw_creature(pose: Pose, coat: Coat, size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The image (size, size, 3) in RGB, and the silhouette (size, size): pixels at least half covered."""
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
    """Every part's paint outside the markings and within them."""
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
    """The mean of every square of SUPERSAMPLING pixels. Integer sums are exact, so all machines agree."""
    size = len(image) // SUPERSAMPLING
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def _pattern(pose: Pose, coat: Coat, side: int) -> NDArray[np.bool_]:
    """Where the markings lie: the domain's pattern in the body's own axes, so that it turns and grows with the body."""
    centres = (np.arange(side) + 0.5) / side
    x, y = centres[None, :] - pose.x, centres[:, None] - pose.y
    cosine, sine = math.cos(pose.tilt), math.sin(pose.tilt)
    unit = pose.scale * coat.period
    u = x * (pose.facing * cosine / unit) - y * (sine / unit) + coat.phase_u
    v = x * (pose.facing * sine / unit) + y * (cosine / unit) + coat.phase_v
    return DOMAINS[coat.domain].pattern(u, v)
