"""How many rounds: a number of them, or as many as fit into a time, with the rows that fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

LEAST_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Pace:
    """`rounds` at most; with `seconds` fewer where they take longer, but never under three."""

    rounds: int
    seconds: float | None = None

    def after(self, spent: float) -> Pace:
        """What is left when so many seconds have gone before the first round."""
        return self if self.seconds is None else replace(self, seconds=self.seconds - spent)

    def goes_on(self, done: int, elapsed: float) -> bool:
        """Whether another round is to begin, `elapsed` seconds after the first did."""
        if done >= self.rounds or not done:
            return done < self.rounds
        if self.seconds is None or done < LEAST_ROUNDS:
            return True
        return elapsed + elapsed / done <= self.seconds

    def too_slow(self, turns: Mapping[str, float], keep: str) -> list[str]:
        """The rows that have to go, the slowest first, so that three rounds fit. `turns` are the seconds that each
        took in the first round; `keep` stays."""
        if self.seconds is None:
            return []
        left, gone = dict(turns), []
        for name in sorted((name for name in turns if name != keep), key=lambda name: -turns[name]):
            if LEAST_ROUNDS * sum(left.values()) <= self.seconds or len(left) <= 2:
                break
            del left[name]
            gone.append(name)
        return gone
