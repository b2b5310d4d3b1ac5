"""A recording or a push in a thread of its own: a slow disk or network delays neither the model nor a window."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from starcast.errors import VideoError, reason_of
from starcast.runtime.live.again import Again
from starcast.runtime.live.captured import Translated
from starcast.signals import undisturbed

WAITING = 150  # translations of a recording: five seconds at 30 fps
_CLOSE_S = 10.0  # that a sink may take to end; a network that does not answer may take longer


class Encoded(Protocol):
    """What runs in the thread."""

    name: str

    def show(self, result: Translated) -> bool: ...

    def close(self) -> None: ...

    def give_up(self) -> None: ...


class BackgroundSink:
    """Takes translations and never waits. Up to `places` wait for the sink; the oldest is left out for one more, and
    counted in `left_out`.

    `shown` is called after each that the sink has taken. `again`: after a fault the sink is opened again, as soon as
    that works; without, the fault is raised by the next `show`, or by `close`.
    """

    def __init__(
        self, sink: Encoded, places: int, shown: Callable[[Translated], None], again: Again | None = None
    ) -> None:
        self.name = sink.name
        self.left_out = 0
        self._sink, self._places, self._shown, self._again = sink, places, shown, again
        self._condition = threading.Condition()
        self._waiting: deque[Translated] = deque()
        self._ends = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="starcast-live-sink", daemon=True)
        with undisturbed():
            self._thread.start()

    @property
    def takes_newest(self) -> bool:
        """Whether it is meant to leave out what it is too slow for."""
        return self._places == 1

    def show(self, result: Translated | None) -> bool:
        """Hand over a translation. Always true: the sink never ends by itself. Raises the sink's fault."""
        if self._error is not None:
            raise self._error
        if result is not None:
            with self._condition:
                if len(self._waiting) == self._places:
                    self._waiting.popleft()
                    self.left_out += 1
                self._waiting.append(result)
                self._condition.notify_all()
        return True

    def close(self) -> None:
        """End after what waits. Raises the sink's fault, unless `show` has."""
        with self._condition:
            self._ends = True
            self._condition.notify_all()
        self._thread.join(_CLOSE_S)
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            while (result := self._take()) is not None:
                self._try(result)
            self._sink.close()
        except BaseException as error:  # noqa: BLE001  raised again by show or close
            self._error = error

    def _take(self) -> Translated | None:
        with self._condition:
            self._condition.wait_for(lambda: bool(self._waiting) or self._ends)
            return self._waiting.popleft() if self._waiting else None

    def _try(self, result: Translated) -> None:
        try:
            self._sink.show(result)
        except VideoError as error:
            if self._again is None:
                raise
            self._sink.give_up()
            cause = error.__cause__
            self._again.wait(reason_of(cause) if isinstance(cause, Exception) else "it takes nothing", error)
            return
        if self._again is not None:
            self._again.works()
        self._shown(result)
