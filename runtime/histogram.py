"""Percentiles of many values in little memory: a histogram whose bins grow with the values."""

from __future__ import annotations

import math
from collections import Counter

_GROWTH = math.log(1.02)  # a bin's middle is within 1 % of every value in it
_LEAST = 1e-9  # smaller values count as this


class Histogram:
    """Counts values above zero. Memory does not grow with their number: from 1 ns to a day there are 1,600 bins."""

    def __init__(self) -> None:
        self.count = 0
        self._bins: Counter[int] = Counter()

    def add(self, value: float, count: int = 1) -> None:
        """Count `value`, `count` times."""
        self._bins[math.floor(math.log(max(value, _LEAST)) / _GROWTH)] += count
        self.count += count

    def percentile(self, percent: float) -> float:
        """The smallest value that at least `percent` % of all values do not exceed, within 1 %; 0 without values."""
        wanted, seen = math.ceil(self.count * percent / 100), 0
        for number, count in sorted(self._bins.items()):
            seen += count
            if seen >= wanted:
                return math.exp((number + 0.5) * _GROWTH)
        return 0.0
