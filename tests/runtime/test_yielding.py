"""Threads beside the model have a lower priority, and pass it on to those that they start."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from starcast.runtime.stages import run_ahead
from starcast.runtime.yielding import with_yielding_threads, yield_to_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for each thread")


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def priority_in(thread_target) -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(thread_target()))
    thread.start()
    thread.join()
    return found[0]


def test_a_thread_that_yields_and_what_it_starts_come_after_others():
    def yielding():
        yield_to_model()
        return priority(), priority_in(priority)

    own, started = priority_in(yielding)
    assert own == started > priority()


def test_threads_that_a_call_leaves_running_yield_and_its_caller_does_not():
    before, go, found = priority(), threading.Event(), []

    def start():
        thread = threading.Thread(target=lambda: (go.wait(10), found.append(priority())))
        thread.start()
        return thread

    thread = with_yielding_threads(start)
    go.set()
    thread.join()
    assert found[0] > before == priority()


def test_an_error_of_the_call_is_its_callers():
    with pytest.raises(ZeroDivisionError):
        with_yielding_threads(lambda: 1 // 0)


@pytest.mark.parametrize("yields", [False, True])
def test_a_stage_yields_if_it_is_asked_to(yields):
    with run_ahead((priority() for _ in range(1)), "stage", yields=yields) as items:
        assert (next(items) > priority()) is yields
