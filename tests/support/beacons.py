"""Films with a flash and a click at the same second, to see whether sound and frames stay together."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

RATE = 48000  # of the sound
FRAMES_A_SECOND = 25


def write_beacon(
    path: Path,
    frames_s: float,
    sound_s: float,
    starts_s: int = 0,
    *,
    codecs: tuple[str, str] = ("mpeg2video", "mp2"),
    pids: int | None = None,
    **options: str,
) -> None:
    """Black frames and silence; half a second after the start of each second, a white frame and a burst of sound.

    `pids`: the number of the first stream in a transport stream. `options` go to the encoder of the frames.
    """
    muxing = {"muxdelay": "0", **({} if pids is None else {"mpegts_start_pid": str(pids)})}
    transport = path.suffix == ".ts"
    with av.open(str(path), "w", options=muxing if transport else {}) as container:
        video: Any = container.add_stream(codecs[0], rate=FRAMES_A_SECOND, options=options)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound: Any = container.add_stream(codecs[1], rate=RATE, layout="mono")
        packets = []
        for number in range(round(frames_s * FRAMES_A_SECOND)):
            level = 255 if number % 25 == 12 else 0
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number + FRAMES_A_SECOND * starts_s, Fraction(1, FRAMES_A_SECOND)
            packets += video.encode(frame)
        packets += video.encode(None)
        for begin in range(0, round(sound_s * RATE), 1152):
            at = np.arange(begin, begin + 1152) / RATE
            loud = (at % 1 >= 0.48) & (at % 1 < 0.52)
            wave = (loud * 25000 * np.sin(2 * np.pi * 1000 * at)).astype(np.int16)[None]
            piece = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = RATE, begin + starts_s * RATE, Fraction(1, RATE)
            packets += sound.encode(piece)
        packets += sound.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)


def beacons(path: Path) -> tuple[list[float], list[float]]:
    """When the flashes and the clicks begin, in seconds."""
    flashes, clicks, last = [], [], -1.0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.to_ndarray(format="gray").mean() > 128:
                flashes.append(float(frame.pts * frame.time_base))
    with av.open(str(path)) as container:
        for sound in container.decode(audio=0):
            for sample in np.flatnonzero(np.abs(sound.to_ndarray()[0]) > 0.2):
                at = float(sound.pts * sound.time_base) + sample / sound.sample_rate
                if at - last > 0.3:
                    clicks.append(at)
                last = at
    return flashes, clicks


def assert_together(path: Path, count: int, together: float, within: float = 0.005) -> None:
    """`count` flashes, each `together` seconds before its click."""
    flashes, clicks = beacons(path)
    assert len(flashes) == len(clicks) == count
    assert np.subtract(clicks, flashes) == pytest.approx([together] * count, abs=within)
