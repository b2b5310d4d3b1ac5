"""Work in threads with bounded queues, results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def open_pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that have ended when the block ends. After an error or Ctrl-C, calls that have not begun are dropped."""
    executor = ThreadPoolExecutor(workers)
    try:
        yield executor
    except BaseException:
        executor.shutdown(cancel_futures=True)
        raise
    executor.shutdown()


def map_ahead(
    executor: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int
) -> Iterator[Result]:
    """`map` in threads, in order, at most `ahead` results before the one that is taken."""
    begun: deque[Future[Result]] = deque()
    for item in items:
        begun.append(executor.submit(function, item))
        if len(begun) > ahead:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


class InOrder(Generic[Result]):
    """A bounded queue of calls. `take` gets each result, in order, in the thread that adds."""

    def __init__(self, executor: ThreadPoolExecutor, places: int, take: Callable[[Result], None]) -> None:
        self._executor = executor
        self._places = places
        self._take = take
        self._begun: deque[Future[Result]] = deque()

    def add(self, call: Callable[[], Result]) -> None:
        """Begin a call, once there is a place."""
        while len(self._begun) >= self._places or (self._begun and self._begun[0].done()):
            self._take(self._begun.popleft().result())
        self._begun.append(self._executor.submit(call))

    def finish(self) -> None:
        """Take the results of all calls, waiting for them."""
        while self._begun:
            self._take(self._begun.popleft().result())
