"""Signals that ask a run to end, as a flag that it checks between two steps, so that it saves before it ends."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from starcast.signals import ENDING, handle_signals, signals_named

# `starcast.signals.ENDING` ends any command. A run saves on every other signal, too, that ends a process by default and
# comes from outside: batch systems can be told to send any. A name that a system lacks is left out.
_IF_DEADLY = signals_named(
    "SIGQUIT", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGPOLL", "SIGPWR", "SIGSTKFLT", "SIGEMT", "SIGLOST"
)
_IMPATIENT = signals_named("SIGINT", "SIGQUIT", "SIGBREAK")  # from a keyboard: the second one interrupts at once


class TrainingStopped(KeyboardInterrupt):
    """Raised once a stopped run has saved. The text says how to continue; `status` is 128 + the signal."""

    def __init__(self, sentence: str, number: int) -> None:
        super().__init__(sentence)
        self.status = 128 + number


@dataclass
class StopRequest:
    """`signal` is the number of the signal received, or None."""

    signal: int | None = None

    def is_made(self) -> bool:
        """Whether the run was asked to stop."""
        return self.signal is not None


@contextmanager
def record_signals(request: StopRequest) -> Iterator[None]:
    """Record the first signal that asks the run to end; a second one from the keyboard interrupts at once.

    What the process was told to ignore stays ignored, as SIGHUP under `nohup` does. Does nothing outside the main
    thread.
    """

    def record(number: int, _frame: FrameType | None) -> None:
        if request.signal is not None:
            if number in _IMPATIENT:
                raise KeyboardInterrupt
            return
        request.signal = number
        again = "; press again to stop at once" if number in _IMPATIENT else f" ({signal.Signals(number).name})"
        with contextlib.suppress(OSError):  # not print: the signal may arrive during one; and the terminal may be gone
            os.write(2, f"\nStopping after this step{again}.\n".encode())

    deadly = [number for number in _IF_DEADLY if signal.getsignal(number) == signal.SIG_DFL]
    with handle_signals((signal.SIGINT, *ENDING, *deadly), record):
        yield


def ignore_stop_signals() -> None:
    """Leave these signals to the run, in one of its other processes: a terminal sends them to all."""
    for number in (signal.SIGINT, *ENDING, *_IF_DEADLY):
        signal.signal(number, signal.SIG_IGN)
