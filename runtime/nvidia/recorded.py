"""GPU work of fixed shapes: run plainly once, then replayed from a CUDA graph. The most recent shapes are kept.

The first run cannot be recorded, because libraries allocate memory, try their algorithms and compile. From then on the
host only launches the graph.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, ParamSpec, TypeVar

RECORDINGS = 2  # attempts to record a graph: another thread's work may spoil one

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recorded(Generic[Parameters, Result]):
    """Calls `run` first, then what `record` returns.

    record: records one run and returns the call that replays it, or None if it cannot be recorded now. per_thread: each
    thread's first run is plain, for libraries that autotune per thread.
    """

    def __init__(
        self,
        run: Callable[Parameters, Result],
        record: Callable[Parameters, Callable[Parameters, Result] | None],
        *,
        attempts: int = RECORDINGS,
        per_thread: bool = False,
    ) -> None:
        self._run = run
        self._record = record
        self._attempts = attempts
        self._per_thread = per_thread
        self._warm: set[int | None] = set()  # threads whose first run is done; None stands for all of them
        self._replay: Callable[Parameters, Result] | None = None

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        thread = threading.get_ident() if self._per_thread else None
        if self._replay is None and self._attempts and thread in self._warm:
            self._attempts -= 1
            self._replay = self._record(*args, **kwargs)
        if self._replay is not None:
            return self._replay(*args, **kwargs)
        result = self._run(*args, **kwargs)
        self._warm.add(thread)
        return result


class MostRecent(Generic[Key, Value]):
    """At most `most` values by key. The least recently used one is dropped, and passed to `drop`."""

    def __init__(self, most: int, drop: Callable[[Value], None] = lambda value: None) -> None:
        self._most = most
        self._drop = drop
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value of a key. If it is missing, others are dropped to make room, then it is made."""
        if key not in self._values:
            while len(self._values) >= self._most:
                self._drop_oldest()
            self._values[key] = make()
        self._values.move_to_end(key)
        return self._values[key]

    def clear(self) -> None:
        """Drop all values."""
        while self._values:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, value = self._values.popitem(last=False)
        self._drop(value)
