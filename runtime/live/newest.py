"""A mailbox with one place: what is put replaces what waits, so that nothing in it grows old."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Ended(Exception):  # noqa: N818  it is no error: nothing follows
    """Raised by `take` when a mailbox was closed without an error, and nothing waits in it any more."""


class Newest(Generic[Item]):
    """Holds the newest item only. Several may share a `condition`, so that one thread can wait for any of them. `wake`
    is called, in the thread that puts or closes, whenever `take` would not wait."""

    def __init__(self, condition: threading.Condition | None = None, wake: Callable[[], object] = lambda: None) -> None:
        self.condition = condition or threading.Condition()
        self._wake = wake
        self.dropped = 0  # items that were replaced before anybody took them
        self._waiting: list[Item] = []  # one at most
        self._end: BaseException | None = None

    def put(self, item: Item) -> None:
        """Replace what waits. A closed mailbox ignores it."""
        with self.condition:
            if self._end is not None:
                return
            self.dropped += len(self._waiting)
            self._waiting = [item]
            self.condition.notify_all()
        self._wake()

    def take(self, timeout: float | None = None) -> Item | None:
        """What waits, as soon as something does; None after `timeout` seconds. Once the mailbox is closed and empty,
        raises the error that it was closed with, or Ended."""
        with self.condition:
            self.condition.wait_for(lambda: bool(self._waiting) or self._end is not None, timeout)
            if self._waiting:
                return self._waiting.pop()
            if self._end is not None:
                raise self._end
            return None

    def close(self, error: BaseException | None = None) -> None:
        """Let `take` raise after the item that waits. Only the first call counts."""
        with self.condition:
            if self._end is None:
                self._end = error or Ended()
            self.condition.notify_all()
        self._wake()

    @property
    def is_waiting(self) -> bool:
        """Whether `take` would return or raise at once."""
        return bool(self._waiting) or self._end is not None
