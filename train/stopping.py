"""Ctrl-C and SIGTERM as a flag that the run checks between two steps, so that it saves before it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


class TrainingStopped(KeyboardInterrupt):
    """Raised once a stopped run has saved. The text says how to continue; `status` is 128 + the signal."""

    def __init__(self, sentence: str, number: int) -> None:
        super().__init__(sentence)
        self.status = 128 + number


@dataclass
class StopRequest:
    """`signal` is the number of the signal received, or None."""

    signal: int | None = None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Record the first SIGINT or SIGTERM; a second SIGINT interrupts at once. Does nothing outside the main thread."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def record(number: int, _frame: FrameType | None) -> None:
        if request.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.signal = number
        with contextlib.suppress(OSError):  # not print: the signal may arrive during one
            os.write(2, b"\nStopping after this step; press again to stop at once.\n")

    before = [(number, signal.signal(number, record)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield request
    finally:
        for number, handler in before:
            signal.signal(number, handler)
