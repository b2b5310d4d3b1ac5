"""How many rounds to measure, and which rows, when time is limited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

LEAST_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Pace:
    """At most `rounds`; with `seconds`, as many as fit, but never fewer than three."""

    rounds: int
    seconds: float | None = None

    def after(self, spent: float) -> Pace:
        """What is left after so many seconds were spent before the first round."""
        return self if self.seconds is None else replace(self, seconds=self.seconds - spent)

    def goes_on(self, done: int, elapsed: float) -> bool:
        """Whether to begin another round, `elapsed` seconds after the first began."""
        if done >= self.rounds or not done:
            return done < self.rounds
        if self.seconds is None or done < LEAST_ROUNDS:
            return True
        return elapsed + elapsed / done <= self.seconds

    def too_slow(self, turns: Mapping[str, float], keep: str) -> list[str]:
        """The rows to drop, the slowest first, so that three rounds fit. `turns` are the seconds that each took in the
        first round; the row `keep` stays."""
        if self.seconds is None:
            return []
        left, dropped = dict(turns), []
        for name in sorted((name for name in turns if name != keep), key=lambda name: -turns[name]):
            if LEAST_ROUNDS * sum(left.values()) <= self.seconds or len(left) <= 2:
                break
            del left[name]
            dropped.append(name)
        return dropped
