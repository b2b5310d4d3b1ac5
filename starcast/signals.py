"""End a command in order on the signals that would kill it: what is half-written is removed on the way out.

SIGTERM is what `kill` and schedulers send, SIGHUP a terminal or an ssh connection that closes, SIGUSR1, SIGUSR2 and
SIGXCPU batch systems before they kill. A signal that was ignored when the process began (`nohup`) stays ignored.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_AGAIN_S = 0.01


def signals_named(*names: str) -> tuple[int, ...]:
    """The numbers of these signals, without those that this system lacks."""
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


ENDING = signals_named("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGBREAK")


class Stopped(SystemExit):
    """Raised in the main thread when a signal arrives. The exit status is 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


_received: list[int] = []
_undisturbed = 0  # blocks that the main thread is in
_late: list[BaseException] = []  # what signals would have raised there


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no signal end the block halfway: Stopped or KeyboardInterrupt is raised at its end instead.

    For moments in which a file is made, or deleted, and nobody knows it yet, or any more. Signals disturb the main
    thread only, and a library's user may handle them in another way, so elsewhere this does nothing.
    """
    global _undisturbed
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _undisturbed += 1
    try:
        yield
    finally:
        _undisturbed -= 1
        if not _undisturbed and _late:
            first = _late[0]
            _late.clear()
            raise first


def _raise(error: BaseException) -> None:
    if not _undisturbed:
        raise error
    _late.append(error)


def raise_if_swallowed() -> None:
    """Raise Stopped if a signal has arrived, but a library has swallowed the error, as OpenVINO's import does.

    To be called now and then by a long command, but not on its way out. Does nothing outside the main thread.
    """
    if _received and threading.current_thread() is threading.main_thread():
        raise Stopped(_received[0])


@contextmanager
def handle_signals(numbers: Iterable[int], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let `handler` have these signals in the block, except those that are ignored or handled outside Python.

    Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: old for number in numbers if (old := signal.getsignal(number)) not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise Stopped in the block when one of `ENDING` arrives; later ones change nothing, while the block ends.

    Ctrl-C raises KeyboardInterrupt, as everywhere, but `undisturbed` delays that, too.
    Raises Stopped at the end of the block, too, if a library swallowed it before. Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _received.clear()

    def stop(number: int, _frame: FrameType | None) -> None:
        if not _received:
            _received.append(number)
            _raise(Stopped(number))

    def interrupt(number: int, _frame: FrameType | None) -> None:
        _raise(KeyboardInterrupt())

    def raise_again(unraisable: Any) -> None:
        # the signal arrived where Python cannot raise, such as in a finalizer
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            _send_soon(signal.SIGINT)
        elif not isinstance(unraisable.exc_value, Stopped):
            earlier_hook(unraisable)
        elif _received:
            _send_soon(_received.pop())

    earlier_hook, sys.unraisablehook = sys.unraisablehook, raise_again
    try:
        with handle_signals(ENDING, stop), handle_signals([signal.SIGINT], interrupt):
            yield
            if _received:
                raise Stopped(_received[0])
    finally:
        _received.clear()
        sys.unraisablehook = earlier_hook


def _send_soon(number: int) -> None:
    timer = threading.Timer(_AGAIN_S, _send, [number])
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:  # no more threads: perhaps it can be raised by now
        _send(number)


def _send(number: int) -> None:
    """Send a signal to the main thread: sent to another one, it would not wake it."""
    if sys.platform == "win32":
        signal.raise_signal(number)
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, number)


def leave(status: int) -> None:
    """End the process with a status that no signal changes any more: nothing is left to be cleaned up."""
    for number in (signal.SIGINT, *ENDING):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(status))
    gc.freeze()  # the end of the process frees everything, so spare Python a last garbage collection
    sys.exit(status)
