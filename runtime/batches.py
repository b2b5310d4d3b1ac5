"""Items collected into batches, which are worked on together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batches(Generic[Item, Result]):
    """Hands items to `run`, `size` at a time and in order; those of one batch have the same `kind`.

    `add` and `finish` return the results of the batch that they completed, which is often none. Call `finish` after the
    last item.
    """

    def __init__(
        self,
        size: int,
        run: Callable[[Sequence[Item]], Iterable[Result]],
        *,
        kind: Callable[[Item], Hashable] = lambda item: None,
    ) -> None:
        self._size = size
        self._run = run
        self._kind = kind
        self._waiting: list[Item] = []

    def add(self, item: Item) -> list[Result]:
        """Add an item. An item of another kind completes the batch before it."""
        other = bool(self._waiting) and self._kind(self._waiting[0]) != self._kind(item)
        results = self.finish() if other else []
        self._waiting.append(item)
        if len(self._waiting) == self._size:
            results += self.finish()
        return results

    def finish(self) -> list[Result]:
        """Run the items that are waiting."""
        batch, self._waiting = self._waiting, []
        return list(self._run(batch)) if batch else []
