"""Run an iterator in its own thread, a few items ahead of its consumer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

DEPTH = 8  # places of the queue between two stages
_POLL_S = 0.1  # how often a waiting stage checks whether to end; this also lets Ctrl-C through on Windows


@dataclass(frozen=True)
class _Ended:
    """No more items follow, because of `error` if there is one."""

    error: BaseException | None


@contextmanager
def ahead(items: Iterable[Item], name: str, depth: int = DEPTH) -> Iterator[Iterator[Item]]:
    """The same items in the same order, made in a thread that waits while `depth` of them are not yet taken.

    An error in the thread is raised when the next item is taken. When the block ends, the thread has ended.
    """
    places: queue.Queue[Item | _Ended] = queue.Queue(depth)
    stop = threading.Event()
    thread = threading.Thread(target=_fill, args=(items, places, stop), name=f"starcast-{name}", daemon=True)
    thread.start()
    try:
        yield _take(places)
    finally:
        stop.set()
        thread.join()


def _fill(items: Iterable[Item], places: queue.Queue[Item | _Ended], stop: threading.Event) -> None:
    def put(item: Item | _Ended) -> None:
        while not stop.is_set():
            try:
                return places.put(item, timeout=_POLL_S)
            except queue.Full:
                continue

    try:
        for item in items:
            put(item)
            if stop.is_set():
                return
    except BaseException as error:  # noqa: BLE001  raised again in the consumer's thread
        put(_Ended(error))
    else:
        put(_Ended(None))


def _take(places: queue.Queue[Item | _Ended]) -> Iterator[Item]:
    while True:
        try:
            item = places.get(timeout=_POLL_S)
        except queue.Empty:
            continue
        if not isinstance(item, _Ended):
            yield item
        elif item.error is not None:
            raise item.error
        else:
            return
