"""Threads that let the model go first. Those that read, fit and encode frames would otherwise take the CPU from it in
turns: on two cores, a model of 40 ms on one thread took 45 beside x264 at 848x464, and 42 with this."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from starcast.signals import undisturbed

Result = TypeVar("Result")

_NICER = 10


def yield_to_model() -> None:
    """Lower the priority of this thread, and of those that it starts. Only Linux has one for each thread; elsewhere
    this does nothing."""
    if sys.platform == "linux":
        own = threading.get_native_id()
        with contextlib.suppress(OSError):  # a container may forbid it
            os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + _NICER)


def with_yielding_threads(call: Callable[[], Result]) -> Result:
    """The result of a call in a thread of its own, so that those which it starts, and which stay, yield as well."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        yield_to_model()
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001  raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="starcast-opening")
    with undisturbed():  # an interrupted start would leave a thread that nobody joins
        thread.start()
        thread.join()
    if errors:
        raise errors[0]
    return results[0]
