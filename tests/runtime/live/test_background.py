"""Outputs that are slow or fail: they delay nobody, keep what they can, and come back."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from starcast.errors import VideoError
from starcast.runtime.live import again
from starcast.runtime.live.again import Again
from starcast.runtime.live.captured import Translated
from starcast.runtime.live.sinks.background import BackgroundSink

WAIT_S = 10  # for what comes at once, on a busy machine
IMAGE = np.zeros((2, 2, 3), np.uint8)


def result(number):
    return Translated(number, float(number), IMAGE, IMAGE, 0.0)


class Sink:
    """Takes numbers; waits at the first until `go`; fails at those in `faults`."""

    name = "show.mkv"

    def __init__(self, faults=()):
        self.took, self.faults, self.given_up, self.is_closed = [], set(faults), 0, False
        self.entered, self.go = threading.Event(), threading.Event()

    def show(self, result):
        self.entered.set()
        assert self.go.wait(WAIT_S)
        if result.number in self.faults:
            raise VideoError("show.mkv cannot be written") from OSError(28, "No space left on device")
        self.took.append(result.number)
        return True

    def give_up(self):
        self.given_up += 1

    def close(self):
        self.is_closed = True


def test_a_slow_output_delays_nobody_and_keeps_the_newest():
    sink, shown = Sink(), []
    background = BackgroundSink(sink, 3, lambda result: shown.append(result.number))
    background.show(result(0))
    assert sink.entered.wait(WAIT_S)
    before = time.monotonic()
    for number in range(1, 8):
        background.show(result(number))
    assert time.monotonic() - before < 1
    sink.go.set()
    background.close()
    assert sink.took == shown == [0, 5, 6, 7]
    assert background.left_out == 4
    assert sink.is_closed


def test_what_waits_is_written_before_the_end():
    sink = Sink()
    background = BackgroundSink(sink, 100, lambda _: None)
    for number in range(50):
        background.show(result(number))
    sink.go.set()
    background.close()
    assert (sink.took, background.left_out) == (list(range(50)), 0)


def test_a_recording_that_fails_ends_the_command_with_its_sentence():
    sink = Sink(faults=[1])
    sink.go.set()
    background = BackgroundSink(sink, 10, lambda _: None)

    def go_on():
        for number in range(1000):
            background.show(result(number))
            time.sleep(0.01)

    with pytest.raises(VideoError, match="cannot be written"):
        go_on()
    with pytest.raises(VideoError, match="cannot be written"):
        background.close()


def test_a_push_that_fails_says_so_and_comes_back(monkeypatch):
    monkeypatch.setattr(again, "_SHORTEST_S", 0.001)
    sink, said = Sink(faults=[1, 2]), []
    sink.go.set()
    background = BackgroundSink(sink, 10, lambda _: None, Again("rtsp://x", said.append, threading.Event()))
    for number in range(5):
        background.show(result(number))
    background.close()
    assert (sink.took, sink.given_up) == ([0, 3, 4], 2)
    assert said == ["rtsp://x is gone (no space left on device): waiting until it is back", "rtsp://x is back"]


def test_a_push_that_was_never_there_is_an_error():
    sink = Sink(faults=[0])
    sink.go.set()
    background = BackgroundSink(sink, 1, lambda _: None, Again("rtsp://x", print, threading.Event()))
    background.show(result(0))
    with pytest.raises(VideoError, match="cannot be written"):
        background.close()
