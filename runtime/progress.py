"""Progress of a long command on stderr: a bar on a terminal, otherwise a line now and then."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from starcast.signals import raise_if_swallowed

SPARSE_S = 15.0  # seconds between lines if stderr is a file or a pipe


class ProgressBar:
    """Counts up to `total`; 0 means unknown. A total that is exceeded counts as unknown, too.

    The callable `progress` prints a line; `print` calls it without tearing the bar.
    """

    def __init__(self, total: int, unit: str, *, show: bool, progress: Callable[[str], None]) -> None:
        self._total, self._unit, self._count = total, unit, 0
        self._progress = progress
        self._show = show
        self._bar: Any = None
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        if self._show and sys.stderr.isatty():
            import tqdm

            self._bar = tqdm.tqdm(total=self._total or None, unit=f" {self._unit}", dynamic_ncols=True, file=sys.stderr)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, count: int = 1) -> None:
        """Count `count` more items as done. Raises Stopped if a signal to stop was swallowed."""
        raise_if_swallowed()
        self._count += count
        if self._bar is not None:
            self._bar.update(count)
        elif self._show and time.monotonic() - self._last > SPARSE_S:
            self._last = time.monotonic()
            known = f" of {self._total}" if self._count <= self._total else ""
            self._progress(f"{self._count}{known} {self._unit}")

    def print(self, line: str) -> None:
        """Print a line above the bar."""
        if self._bar is not None:
            self._bar.clear()
        self._progress(line)
        if self._bar is not None:
            self._bar.refresh()


_NAME_LETTERS = 24  # of a part's name that a bar shows


class TotalBar(ProgressBar):
    """Counts the items of several parts, such as the frames of videos, with the time left over all of them.

    `expected`: how many items each part has; 0: unknown, which counts as the average of those that are known.
    """

    def __init__(
        self, expected: Sequence[int], unit: str, part: str, *, show: bool, progress: Callable[[str], None]
    ) -> None:
        self._expected, self._part = list(expected), part
        super().__init__(self._estimate(), unit, show=show, progress=progress)
        self._began: tuple[float, int] | None = None  # when the first items were done, and how many
        self._label = ""

    @contextmanager
    def part(self, number: int, name: str, total: int, say: Callable[[str], None]) -> Iterator[ProgressBar]:
        """The bar of part `number` (from 0), which has `total` items. `say` gets the lines that it is to print."""
        self._expect(number, total or self._expected[number])
        self._label = f"{number + 1}/{len(self._expected)} {_shortened(name)}"
        before = self._count
        try:
            yield _Part(self, total, say)
        finally:
            self._expect(number, self._count - before or _NONE)

    def skip(self, number: int) -> None:
        """Part `number` is done already, or cannot be done: none of its items will come."""
        self._expect(number, _NONE)

    def advance_part(self, count: int, done: float | None) -> None:
        """Count items of the part that is in work, of which this fraction is done; None: unknown."""
        if self._bar is not None:
            percent = "" if done is None else f" {min(1.0, done):.0%}"
            self._bar.set_description_str(f"{self._label}{percent}", refresh=False)
        self.advance(count)

    def advance(self, count: int = 1) -> None:
        """Count items. Raises Stopped if a signal to stop was swallowed."""
        raise_if_swallowed()
        now = time.monotonic()
        self._count += count
        self._began = self._began or (now, self._count)
        if self._bar is not None:
            self._bar.update(count)
        elif self._show and now - self._last > SPARSE_S:
            self._last = now
            self._progress(self._line(now))

    def _line(self, now: float) -> str:
        line = f"{self._part} {self._label}: {self._count}"
        if self._count > self._total:
            return f"{line} {self._unit}"
        line = f"{line} of {self._total} {self._unit}"
        began, first = self._began or (now, self._count)
        if self._count == first:
            return line
        left_s = (now - began) * (self._total - self._count) / (self._count - first)
        return f"{line}, {datetime.timedelta(seconds=round(left_s))} left"

    def _expect(self, number: int, items: int) -> None:
        self._expected[number] = items
        self._total = self._estimate()
        if self._bar is not None:
            self._bar.total = self._total or None

    def _estimate(self) -> int:
        known = [items for items in self._expected if items > 0]
        unknown = sum(items == 0 for items in self._expected)
        return sum(known) + (round(unknown * sum(known) / len(known)) if known else 0)


_NONE = -1  # a part without items, in contrast to one of which the number is unknown


class _Part(ProgressBar):
    """The bar of a part; `print` says lines elsewhere."""

    def __init__(self, whole: TotalBar, total: int, say: Callable[[str], None]) -> None:
        super().__init__(total, "", show=False, progress=say)
        self._whole = whole

    def advance(self, count: int = 1) -> None:
        self._count += count
        self._whole.advance_part(count, self._count / self._total if self._total else None)


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME_LETTERS else f"{name[: _NAME_LETTERS - 1]}…"
