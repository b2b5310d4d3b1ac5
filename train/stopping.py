"""Ctrl-C and SIGTERM as a question that the loop asks between two steps, so that it can save before it ends."""

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
    """A run was asked to stop and has saved. The text says how to go on; `status` is the exit status, 128 + signal."""

    def __init__(self, sentence: str, number: int) -> None:
        super().__init__(sentence)
        self.status = 128 + number


@dataclass
class StopRequest:
    """`signal` is the number of the one that came, or None."""

    signal: int | None = None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Note the first SIGINT or SIGTERM; a second SIGINT interrupts at once. In a thread, signals stay as they are."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, _frame: FrameType | None) -> None:
        if request.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.signal = number
        with contextlib.suppress(OSError):  # not print: the signal may come in the middle of one
            os.write(2, b"\nStopping after this step; again to stop at once.\n")

    before = [(number, signal.signal(number, note)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield request
    finally:
        for number, handler in before:
            signal.signal(number, handler)
