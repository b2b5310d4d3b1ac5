"""Building blocks for a pipeline whose stages run in parallel: batches, and ordered threads with bounded queues."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar, cast

import msgspec

from starcast.runtime.queue_watch import QueueWatch, WatchedQueue
from starcast.runtime.yielding import yield_to_model
from starcast.signals import undisturbed

Item = TypeVar("Item")
Result = TypeVar("Result")
Other = TypeVar("Other")

DEPTH = 8  # items in the queue between two stages
_POLL_S = 0.1  # how often a waiting stage checks whether to stop; this also lets Ctrl-C through on Windows


def slices(count: int, most: int) -> Iterator[slice]:
    """`count` items in order, in slices of at most `most`."""
    for start in range(0, count, most):
        yield slice(start, start + most)


class Batches(Generic[Item, Result]):
    """Passes items to `run` in order, in batches of at most `size`; the items of a batch have the same `kind`. An item
    that is `last` completes its batch.

    `add` and `finish` return the results of the batches they complete, often none. Call `finish` after the last item.
    """

    def __init__(
        self,
        size: int,
        run: Callable[[Sequence[Item]], Iterable[Result]],
        *,
        kind: Callable[[Item], Hashable] = lambda item: None,
        last: Callable[[Item], bool] = lambda item: False,
    ) -> None:
        self._size = size
        self._run = run
        self._kind = kind
        self._last = last
        self._waiting: list[Item] = []

    def add(self, item: Item) -> list[Result]:
        """Add an item. An item of another kind first completes the waiting batch."""
        other = bool(self._waiting) and self._kind(self._waiting[0]) != self._kind(item)
        results = self.finish() if other else []
        self._waiting.append(item)
        if len(self._waiting) == self._size or self._last(item):
            results += self.finish()
        return results

    def finish(self) -> list[Result]:
        """Run the waiting items, and return their results."""
        batch, self._waiting = self._waiting, []
        return list(self._run(batch)) if batch else []


def batched_among(
    items: Iterable[Item | Other], kind: type[Item], batches: Batches[Item, Result]
) -> Iterator[Result | Other]:
    """The results of the items of one `kind`, in order. Others pass unchanged, and may overtake a waiting batch."""
    for item in items:
        if isinstance(item, kind):
            yield from batches.add(item)
        else:
            yield cast("Other", item)  # mypy narrows no union of type variables
    yield from batches.finish()


@contextmanager
def open_pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """A thread pool that ends with the block. After an error or Ctrl-C, calls that have not started are dropped."""
    executor = ThreadPoolExecutor(workers)
    try:
        yield executor
    except BaseException:
        executor.shutdown(cancel_futures=True)
        raise
    executor.shutdown()


def submit(executor: ThreadPoolExecutor, call: Callable[..., Result], *arguments: object) -> Future[Result]:
    """`executor.submit`, not interrupted by signals. Interrupted halfway, it leaves a running thread that the executor
    does not know, and the process waits for that thread for ever."""
    with undisturbed():
        return executor.submit(call, *arguments)


def map_ahead(
    executor: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int
) -> Iterator[Result]:
    """`map` in threads: results in order, with at most `ahead` calls started beyond the result in use."""
    begun: deque[Future[Result]] = deque()
    for item in items:
        begun.append(submit(executor, function, item))
        if len(begun) > ahead:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


class InOrder(Generic[Result]):
    """A bounded queue of calls. `take` receives each result, in order, in the caller's thread."""

    def __init__(self, executor: ThreadPoolExecutor, places: int, take: Callable[[Result], None]) -> None:
        self._executor = executor
        self._places = places
        self._take = take
        self._begun: deque[Future[Result]] = deque()

    def add(self, call: Callable[[], Result]) -> None:
        """Begin a call as soon as the queue has a free place."""
        while len(self._begun) >= self._places or (self._begun and self._begun[0].done()):
            self._take(self._begun.popleft().result())
        self._begun.append(submit(self._executor, call))

    def finish(self) -> None:
        """Wait for all calls, and take their results."""
        while self._begun:
            self._take(self._begun.popleft().result())


class _Ended(msgspec.Struct, frozen=True):
    """Marks the end of the items; `error` is the error that ended them early, if any."""

    error: BaseException | None


@contextmanager
def run_ahead(
    items: Iterable[Item], name: str, depth: int = DEPTH, watch: QueueWatch | None = None, *, yields: bool = False
) -> Iterator[Iterator[Item]]:
    """Iterate `items` in a thread that stays up to `depth` items ahead; yields an iterator over the same items.

    An error in the thread is raised when the next item is taken. Leaving the block ends the thread. `watch`, which has
    `depth` places, sees how full the queue is. `yields`: the thread lets the model go first.
    """
    places: queue.Queue[Item | _Ended] = WatchedQueue(watch or QueueWatch(depth))
    stop = threading.Event()
    thread = threading.Thread(target=_fill, args=(items, places, stop, yields), name=f"starcast-{name}", daemon=True)
    try:
        with undisturbed():
            thread.start()
        yield _take(places)
    finally:
        stop.set()
        if thread.ident is not None:  # None: the system has no more threads
            thread.join()


def _fill(items: Iterable[Item], places: queue.Queue[Item | _Ended], stop: threading.Event, yields: bool) -> None:
    if yields:
        yield_to_model()

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
