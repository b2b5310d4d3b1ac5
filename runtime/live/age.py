"""How old live frames are when they are shown, and how many are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from starcast.runtime.histogram import Histogram

_PERCENTS = (50, 95, 99)


class Ages:
    """Counts what comes in and goes out. Its memory does not grow with time; threads may share it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._lock = threading.Lock()
        self._age, self._engine = Histogram(), Histogram()
        self._captured = 0

    def start(self) -> None:
        """Count time from now on."""
        self._began = self._clock()

    def capture(self) -> None:
        """Count a captured frame."""
        with self._lock:
            self._captured += 1

    def show(self, captured_at: float, engine_s: float) -> None:
        """Count a frame that is at its sink now."""
        with self._lock:
            self._age.add(self._clock() - captured_at)
            self._engine.add(engine_s)

    def facts(self) -> dict[str, Any]:
        """The figures so far, as in the JSON file. Dropped: frames that were captured, and not shown."""
        with self._lock:
            seconds = max(1e-9, self._clock() - self._began)
            shown = self._age.count
            return {
                "seconds": round(seconds, 3),
                "captured": self._captured,
                "shown": shown,
                "dropped": max(0, self._captured - shown),
                "captured_fps": round(self._captured / seconds, 2),
                "shown_fps": round(shown / seconds, 2),
                "age_ms": _milliseconds(self._age),
                "engine_ms": _milliseconds(self._engine),
            }

    def line(self) -> str:
        """The figures in one line."""
        facts = self.facts()
        age, engine = facts["age_ms"], facts["engine_ms"]
        return (
            f"{facts['shown']} of {facts['captured']} frames in {facts['seconds']:.1f} s "
            f"({facts['shown_fps']:.1f} fps); age p50 {age['p50']:.0f} ms, p95 {age['p95']:.0f} ms; "
            f"model p50 {engine['p50']:.0f} ms"
        )


def _milliseconds(histogram: Histogram) -> dict[str, float]:
    return {f"p{percent}": round(histogram.percentile(percent) * 1000, 2) for percent in _PERCENTS}
