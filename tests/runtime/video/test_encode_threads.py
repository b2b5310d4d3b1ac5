"""The encoder's thread, which converts a frame's colours while the frame before it is encoded."""

from __future__ import annotations

import gc
import re
import threading
from fractions import Fraction

import av
import numpy as np
import pytest

from starcast.runtime.encoding import EncodingOptions
from starcast.runtime.video.output.encode import VideoEncoder, settle

TICKS = Fraction(1, 25)


def converters() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("colours")}


@pytest.mark.parametrize("is_flushed", [True, False], ids=["a finished film", "a film that was given up"])
def test_it_ends_with_the_film(tmp_path, is_flushed):
    target, before = tmp_path / "out.mkv", converters()
    with av.open(str(target), "w") as container:
        encoder = VideoEncoder(container, 16, 16, 1 / TICKS, TICKS, settle(EncodingOptions(), target))
        encoder.encode(np.zeros((16, 16, 3), np.uint8), 0, 1)
        [thread] = converters() - before
        if is_flushed:
            container.mux(encoder.flush())
    del encoder
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.parametrize("codec", ["ffv1", "h264"])
def test_every_frame_comes_out_once_with_its_own_time_and_duration(tmp_path, codec):
    target, times = tmp_path / "out.mkv", [0, 1, 5, 6, 20]
    durations = {0: 1, 1: 4, 5: 1, 6: 14, 20: 2}
    with av.open(str(target), "w") as container:
        encoder = VideoEncoder(container, 16, 16, 1 / TICKS, TICKS, settle(EncodingOptions(codec=codec), target))
        packets = [
            packet
            for number, pts in enumerate(times)
            for packet in encoder.encode(np.full((16, 16, 3), 40 * number, np.uint8), pts, durations[pts])
        ]
        packets += encoder.flush()
    assert {packet.pts: packet.duration for packet in packets} == durations
    assert len(packets) == len(times)


def test_a_frame_that_cannot_be_converted_is_an_error(tmp_path):
    target = tmp_path / "out.mkv"
    with av.open(str(target), "w") as container:
        encoder = VideoEncoder(container, 16, 16, 1 / TICKS, TICKS, settle(EncodingOptions(), target))
        encoder.encode(np.zeros((16, 16), np.uint8), 0, 1)  # without colours
        with pytest.raises((ValueError, IndexError, TypeError)):
            encoder.flush()


def test_x264_divides_frames_among_threads_and_not_parts_of_a_frame(tmp_path):
    target = tmp_path / "out.mkv"
    with av.open(str(target), "w") as container:
        encoder = VideoEncoder(container, 128, 128, 1 / TICKS, TICKS, settle(EncodingOptions(), target))
        image = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
        packets = [packet for pts in range(3) for packet in encoder.encode(image, pts, 1)] + encoder.flush()
    units = [re.findall(rb"\x00\x00\x01(.)", bytes(packet), re.DOTALL) for packet in packets]
    slices = [sum(unit[0] & 31 in (1, 5) for unit in of_packet) for of_packet in units]  # H.264, table 7-1
    assert slices == [1, 1, 1]
