"""Progress of an export: a line for each stage that is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str], None]


@contextmanager
def stage(progress: Progress, done: str) -> Iterator[None]:
    """Show that a stage is done, and how long it took."""
    start = time.perf_counter()
    yield
    progress(f"{done} ({time.perf_counter() - start:.1f} s)")
