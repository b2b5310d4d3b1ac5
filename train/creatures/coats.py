"""A creature's coat: the domain's pattern, and a colour from the domain's range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from starcast.train.creatures.poses import between

Coordinates = NDArray[np.float64]
Colour = tuple[float, float, float]  # red, green, blue in 0..255

WHITE: Colour = (250.0, 248.0, 244.0)
CREAM: Colour = (255.0, 246.0, 190.0)
BLACK: Colour = (28.0, 24.0, 30.0)


@dataclass(frozen=True, kw_only=True)
class Coat:
    """What a translation changes: the domain's pattern and the colour.

    `period` is a fraction of the image's side before the pose's scale is applied; phases are in periods, 0..1.
    """

    domain: str
    colour: Colour
    period: float
    phase_u: float
    phase_v: float


def _fraction(values: Coordinates) -> Coordinates:
    """The fractional part; `%` takes five times as long."""
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
    """A pattern, its mean period, the two ends of the coat's range of colours, and what to mix in for the markings."""

    pattern: Callable[[Coordinates, Coordinates], NDArray[np.bool_]]
    period: float
    first: Colour
    last: Colour
    marking: Colour
    marking_share: float
    random_v: bool = True  # False for stripes, which bend about the spine only


# alphabetical, the default order of domains in training
DOMAINS: dict[str, CreatureDomain] = {
    "checked": CreatureDomain(_checks, 0.150, (40, 44, 168), (112, 198, 252), BLACK, 0.66),
    "spotted": CreatureDomain(_spots, 0.115, (22, 104, 60), (196, 216, 66), CREAM, 0.80),
    "striped": CreatureDomain(_stripes, 0.120, (164, 22, 40), (255, 166, 70), BLACK, 0.74, random_v=False),
}


def random_coat(random: np.random.Generator, domain: str) -> Coat:
    """A coat of a domain: its colour lies near the line between the two ends of the domain's range."""
    facts = DOMAINS[domain]
    along = random.random()
    red, green, blue = (
        round(min(255.0, max(0.0, first + along * (last - first) + between(random, -9, 9))), 1)
        for first, last in zip(facts.first, facts.last, strict=True)
    )
    return Coat(
        domain=domain,
        colour=(red, green, blue),
        period=between(random, 0.9 * facts.period, 1.1 * facts.period),
        phase_u=between(random, 0, 1),
        phase_v=between(random, 0, 1) if facts.random_v else 0.0,
    )
