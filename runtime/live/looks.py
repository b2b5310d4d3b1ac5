"""The style of a live feed, which is steered while it runs and changes smoothly."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Style = NDArray[np.float32]
CHANGE_S = 0.2  # from one style to the next: short enough for a stage, long enough not to flash
_KEPT = 64  # styles that are not made again


@dataclass(frozen=True)
class Look:
    """What a style is made from: a seed or a reference in a domain, or labels. `blend`: the share of `second`.
    `reference`: a path, or another name that the maker of styles knows."""

    domain: str | int | None = None
    seed: int | None = None
    reference: Path | str | None = None
    labels: tuple[tuple[str, float], ...] | None = None
    psi: float = 1.0
    second: Look | None = None
    blend: float = 0.0

    @property
    def arguments(self) -> dict[str, Any]:
        """As keyword arguments of `Translator.style`."""
        given = {"domain": self.domain, "seed": self.seed, "reference": self.reference, "psi": self.psi}
        return given if self.labels is None else {**given, "labels": dict(self.labels)}


class Looks:
    """The look of one feed. `steer` is called by whoever steers, `style_at` by the model's thread, which never waits
    for a style to be made. `make` is `Translator.style`."""

    def __init__(self, make: Callable[..., Style], look: Look, clock: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._clock = clock
        self._steering = threading.Lock()
        self._made: OrderedDict[Look, Style] = OrderedDict()
        style = self._style(look)
        # one tuple, swapped at once: version, look, since when, the style then, the style that it becomes
        self._state = (0, look, float("-inf"), style, style)

    @property
    def look(self) -> Look:
        """What the style is, or becomes."""
        return self._state[1]

    @property
    def version(self) -> int:
        """How often the look was steered."""
        return self._state[0]

    def steer(self, look: Look) -> None:
        """Change to another look, from now on, within CHANGE_S. Raises what `make` raises; then nothing changes."""
        with self._steering:
            if look != self._state[1]:
                style = self._style(look)
                now = self._clock()
                self._state = (self._state[0] + 1, look, now, self.style_at(now), style)

    def style_at(self, now: float) -> Style:
        """The style at a time of the clock."""
        _, _, since, before, after = self._state
        share = (now - since) / CHANGE_S
        return after if share >= 1 else _between(before, after, max(0.0, share))

    def _style(self, look: Look) -> Style:
        if look.second is not None:
            return _between(self._style(_alone(look)), self._style(look.second), look.blend)
        if look not in self._made:
            self._made[look] = self._make(**look.arguments)
            if len(self._made) > _KEPT:
                self._made.popitem(last=False)
        self._made.move_to_end(look)
        return self._made[look]


def _alone(look: Look) -> Look:
    return Look(look.domain, look.seed, look.reference, look.labels, look.psi)


def _between(first: Style, second: Style, share: float) -> Style:
    return np.asarray(first + np.float32(share) * (second - first), np.float32)
