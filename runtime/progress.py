"""Progress of a long command on stderr: a bar on a terminal, otherwise a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

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

    def __enter__(self) -> ProgressBar:
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
