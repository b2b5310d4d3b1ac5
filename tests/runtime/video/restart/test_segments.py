"""A segment's last frames are encoded in a thread, while the next segment begins."""

from __future__ import annotations

import errno
import signal
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from starcast.runtime.encoding import EncodingOptions
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.output.encode import VideoEncoder, settle
from starcast.runtime.video.restart import segments
from starcast.runtime.video.restart.journal import read_segments
from starcast.runtime.video.restart.parts import Parts
from starcast.runtime.video.restart.segments import SegmentFile, Segments
from starcast.signals import stop_on_signals

SEGMENT = 6
TICKS = Fraction(1, 25)


@pytest.fixture
def film(tmp_path, monkeypatch):
    """film.write(frames): numbers of the packets that come out after each frame; and `film.whole()`."""
    monkeypatch.setattr(segments, "SEGMENT_FRAMES", SEGMENT)
    target = tmp_path / "out.mkv"
    with av.open(str(target), "w") as container:
        yield Written(target, container)


class Written:
    def __init__(self, target: Path, container: av.container.OutputContainer) -> None:
        how = (16, 16), 1 / TICKS, TICKS, settle(EncodingOptions(preset="ultrafast"), target)
        stream = VideoEncoder(container, 16, 16, *how[1:]).stream
        self.parts = Parts(target)
        self.parts.begin({})
        self.segments = Segments(self.parts, stream, *how)

    def write(self, count: int, first: int = 0) -> list[list[int]]:
        frames = [RgbFrame(np.full((16, 16, 3), 9 * pts, np.uint8), pts, 1) for pts in range(first, first + count)]
        return [sorted(packet.pts for packet in self.segments.write(frame)) for frame in frames]

    def whole(self) -> int:
        return sum(1 for _ in read_segments(self.parts.folder / "journal.jsonl"))


def test_the_packets_of_a_segment_always_come_a_third_into_the_next(film):
    assert film.write(8) == [[]] * 7 + [[0, 1, 2, 3, 4, 5]]
    assert film.whole() == 1
    assert sorted(packet.pts for packet in film.segments.flush()) == [6, 7]
    assert film.whole() == 1  # the last frames are no whole segment


def test_a_segment_that_is_finished_while_a_film_is_given_up_becomes_whole(film):
    film.write(7)
    film.segments.abandon(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert film.whole() == 1
    assert sorted(path.name for path in film.parts.folder.iterdir()) == ["000000.nut", "journal.jsonl"]


def test_what_goes_wrong_while_a_segment_is_finished_ends_the_film_and_leaves_no_part_of_it(film, monkeypatch):
    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SegmentFile, "finish", full)
    with pytest.raises(OSError, match="No space left"):
        film.write(8)
    film.segments.abandon(OSError, OSError(), None)
    assert [path.name for path in film.parts.folder.iterdir()] == ["journal.jsonl"]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals cannot be sent to a thread here")
def test_ctrl_c_while_the_last_segment_is_waited_for_ends_only_when_nothing_writes_there_any_more(film, monkeypatch):
    finish, is_done = SegmentFile.finish, threading.Event()

    def interrupt_and_finish(self):
        time.sleep(0.05)  # by now, the main thread waits
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.05)
        try:
            return finish(self)
        finally:
            is_done.set()

    monkeypatch.setattr(SegmentFile, "finish", interrupt_and_finish)
    film.write(3)
    with pytest.raises(KeyboardInterrupt), stop_on_signals():
        list(film.segments.flush())
    assert is_done.is_set()
    film.parts.discard()
    assert not film.parts.folder.exists()
