"""Notice an engine that is much slower or faster than when it was measured: the machine was busy then, or is now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

FAR = 2.0  # times as slow, or as fast
_WARM_UP = 4  # calls, which allocate memory and start threads
_CALLS = 24  # the first ones after these

clock = time.perf_counter


class Watch:
    """Times the first calls on images of the size that was measured. `end` calls `doubt` with their milliseconds per
    image if they are far from `expected_ms`."""

    def __init__(self, expected_ms: float, size: tuple[int, int], doubt: Callable[[float], None]) -> None:
        self._expected_ms = expected_ms
        self._size = size
        self._doubt = doubt
        self._ms: list[float] = []

    @contextmanager
    def timed(self, shape: tuple[int, ...]) -> Iterator[None]:
        """Time a call on images [N, H, W, 3]."""
        start = clock()
        yield
        if shape[1:3] == self._size and len(self._ms) < _WARM_UP + _CALLS:
            self._ms.append(1000 * (clock() - start) / shape[0])

    def end(self) -> None:
        """Judge the calls; too few of them say nothing."""
        calls = self._ms[_WARM_UP:]
        if len(calls) < _CALLS // 2:
            return
        ms = median(calls)
        if not self._expected_ms / FAR <= ms <= self._expected_ms * FAR:
            self._doubt(ms)
