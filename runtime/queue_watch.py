"""How full the queue between two stages is over time: a full one waits for the stage after it, an empty one for the
stage before."""

from __future__ import annotations

import queue
import time
from typing import TypeVar

Item = TypeVar("Item")


class QueueWatch:
    """The depth of one queue, weighted by time. `queue.Queue` calls `change` under its lock."""

    def __init__(self, places: int) -> None:
        self.places = places
        self._depth = 0
        self._since = self._start = time.perf_counter()
        self._full_s = self._empty_s = self._filled_s = 0.0

    def change(self, depth: int) -> None:
        """The queue holds `depth` items from now on."""
        now = time.perf_counter()
        passed, self._since = now - self._since, now
        self._filled_s += self._depth * passed
        self._empty_s += passed if self._depth == 0 else 0.0
        self._full_s += passed if self._depth >= self.places else 0.0
        self._depth = depth

    @property
    def mean(self) -> float:
        """Items in the queue, on average over time."""
        return self._filled_s / self._watched_s

    @property
    def full(self) -> float:
        """The share of time that the queue was full, 0 to 1."""
        return self._full_s / self._watched_s

    @property
    def empty(self) -> float:
        """The share of time that the queue was empty, 0 to 1."""
        return self._empty_s / self._watched_s

    @property
    def _watched_s(self) -> float:
        return max(self._since - self._start, 1e-9)


class WatchedQueue(queue.Queue[Item]):
    """A bounded queue that tells a watch how many items it holds."""

    def __init__(self, watch: QueueWatch) -> None:
        super().__init__(watch.places)
        self._watch = watch

    def _put(self, item: Item) -> None:
        super()._put(item)
        self._watch.change(self._qsize())

    def _get(self) -> Item:
        item = super()._get()
        self._watch.change(self._qsize())
        return item
