"""A signal ends a command even where a library swallows the error that it raises."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from starcast.runtime.progress import ProgressBar
from starcast.signals import Stopped, raise_if_swallowed, stop_on_signals

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of Unix")


def count_after_a_swallowed_signal(counted: list[int]) -> None:
    with contextlib.suppress(BaseException):  # what OpenVINO's import does
        os.kill(os.getpid(), signal.SIGTERM)
    bar = ProgressBar(1000, "frames", show=False, progress=print)
    for number in range(1000):
        counted.append(number)
        bar.advance()


def test_a_swallowed_signal_stops_the_command_at_its_next_item():
    counted: list[int] = []
    with pytest.raises(Stopped) as raised, stop_on_signals():
        count_after_a_swallowed_signal(counted)
    assert counted == [0]
    assert raised.value.code == 128 + signal.SIGTERM
    raise_if_swallowed()  # the next command in this process is not stopped
