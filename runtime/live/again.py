"""When a source or a push that has failed is tried again."""

from __future__ import annotations

import threading
from collections.abc import Callable

from starcast.errors import VideoError

_SHORTEST_S, _LONGEST_S = 0.25, 4.0


class Again:
    """Waits longer after every attempt that failed, and says once that the place is gone and once that it is back."""

    def __init__(self, name: str, say: Callable[[str], None], stop: threading.Event) -> None:
        self._name = name
        self._say = say
        self._stop = stop
        self._was_there = False
        self._is_there = False
        self._pause_s = _SHORTEST_S

    def works(self) -> None:
        """A frame has come, or gone."""
        if self._was_there and not self._is_there:
            self._say(f"{self._name} is back")
        self._was_there = self._is_there = True
        self._pause_s = _SHORTEST_S

    def wait(self, reason: str, never: VideoError | None = None) -> None:
        """Wait before the next attempt; `reason` is a clause. If it has never worked, raises VideoError: `never`, or
        that of a source."""
        if not self._was_there:
            raise never or VideoError(f"{self._name} gives no frames ({reason}): check that it is there")
        if self._is_there:
            self._say(f"{self._name} is gone ({reason}): waiting until it is back")
        self._is_there = False
        self._stop.wait(self._pause_s)
        self._pause_s = min(_LONGEST_S, self._pause_s * 2)
