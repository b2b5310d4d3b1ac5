"""When each frame is shown, in files that state it badly or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from real_films import ffmpeg, needs_ffmpeg, read

RATE = 25
FRAME = Fraction(1, RATE)
ONE_REFUSED = b"\0\0\1\xb6\x50\x40\x7f"  # N-VOP: a frame that is not coded, as short as DivX writes it
USER_DATA, VOP = b"\0\0\1\xb2", b"\0\0\1\xb6"  # start codes (ISO/IEC 14496-2, 6.2.1)


def levels(frames: Sequence[Any]) -> list[int]:
    return [int(np.rint(frame.frame.to_ndarray(format="gray").mean())) for frame in frames]


def write_packed(path: Path, count: int) -> None:
    """Frames that get lighter, as DivX 5 packs them into AVI: a B frame in the packet of the frame that it needs, then
    a packet that only fills the place."""
    with av.open(str(path), "w") as container:
        encoder: Any = av.CodecContext.create("mpeg4", "w")
        encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "yuv420p", FRAME
        encoder.options = {"bf": "1", "b_strategy": "0", "g": "12", "qmax": "2"}
        packets = []
        for number in range(count):
            grey = np.full((48, 64, 3), 20 + 3 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, FRAME
            packets += encoder.encode(frame)
        coded = [bytes(packet) for packet in [*packets, *encoder.encode(None)]]
        bidirectional = [content[content.index(VOP) + 4] >> 6 == 2 for content in coded]
        assert sum(bidirectional) > count // 3
        packed = []
        for number, content in enumerate(coded):
            if bidirectional[number]:
                packed[-1] += content
                packed.append(ONE_REFUSED)
            else:
                packed.append(content)
        stream: Any = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.codec_tag = "DX50"
        container.start_encoding()
        for number, content in enumerate(packed):
            header = content[: content.index(VOP)].partition(USER_DATA)[0]
            if number == 0:
                content = header + USER_DATA + b"DivX503b1393p" + content[content.index(VOP) :]
            packet: Any = av.Packet(content)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = FRAME, stream, number == 0
            container.mux(packet)


def test_frames_in_packed_avi_follow_one_another(tmp_path):
    write_packed(tmp_path / "a.avi", 40)
    frames, source = read(tmp_path / "a.avi")
    times = [frame.pts * source.time_base for frame in frames]
    assert len(frames) == 40
    assert [later - earlier for earlier, later in pairwise(times)] == [FRAME] * 39
    assert np.abs(np.array(levels(frames)) - [20 + 3 * number for number in range(40)]).max() <= 3


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("bf", ["0", "1", "3"])
def test_frames_in_avi_follow_one_another(make_clip, codec, bf):
    """AVI stores the order of decoding only."""
    clip = make_clip("a.avi", frames=40, codec=codec, options=(("bf", bf),))
    frames, source = read(clip)
    times = [frame.pts * source.time_base for frame in frames]
    assert [later - earlier for earlier, later in pairwise(times[1:])] == [FRAME] * 38
    assert times[1] - times[0] in (FRAME, 2 * FRAME)  # FFmpeg's muxer may leave a place between the first two
    assert (source.damaged, source.ends_early) == (0, False)


@needs_ffmpeg
@pytest.mark.parametrize("codec", [("libx264", "-bf", "3"), ("mpeg4", "-bf", "2"), ("libxvid", "-bf", "2")])
@pytest.mark.parametrize("rate", ["24000/1001", "25"])
def test_times_in_avi_are_those_of_ffmpeg(tmp_path, codec, rate):
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=160x120:r={rate}:d=2", "-f", "lavfi", "-i", "sine=r=48000:d=2",
           "-c:v", *codec, "-c:a", "mp3", tmp_path / "a.avi")  # fmt: skip
    lines = ffmpeg("-i", tmp_path / "a.avi", "-vsync", "0", "-map", "0:v", "-f", "framemd5", "-").splitlines()
    frames, source = read(tmp_path / "a.avi")
    times = [int(line.split(",")[2]) * Fraction(1) / Fraction(rate) for line in lines if not line.startswith("#")]
    assert [frame.pts * source.time_base for frame in frames] == times


@pytest.mark.parametrize("seconds", [1, 4, 60])
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_time_lapse_keeps_its_times_whatever_rate_is_stated(make_clip, name, seconds):
    """The file says 25 frames a second; with B frames, a frame is decoded long before it is shown."""
    clip = make_clip(name, frames=30, time_base=Fraction(1, 1000), pts=[1000 * seconds * at for at in range(30)],
                     options=(("bf", "3"),))  # fmt: skip
    frames, source = read(clip)
    assert [frame.pts * source.time_base for frame in frames] == [seconds * at for at in range(30)]
    assert not source.ends_early


@needs_ffmpeg
def test_segments_that_begin_later_than_0_are_whole(tmp_path):
    """DASH: the first part of a file, then some of its segments."""
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=4", "-c:v", "libx264", "-g", "25", "-f", "dash",
           "-seg_duration", "1", tmp_path / "a.mpd")  # fmt: skip
    begin = (tmp_path / "init-stream0.m4s").read_bytes()
    parts = [path.read_bytes() for path in sorted(tmp_path.glob("chunk-stream0-*.m4s"))]
    assert len(parts) == 4
    (tmp_path / "late.mp4").write_bytes(begin + b"".join(parts[2:]))
    frames, source = read(tmp_path / "late.mp4")
    assert [frame.pts * source.time_base for frame in frames] == [number * FRAME for number in range(50)]
    assert not source.ends_early
    (tmp_path / "cut.mp4").write_bytes((begin + b"".join(parts))[:-3000])
    assert read(tmp_path / "cut.mp4")[1].ends_early


@needs_ffmpeg
@pytest.mark.parametrize(("name", "muxer", "is_said"), [
    ("a.mjpeg", "mpjpeg", True), ("b.mjpeg", "mjpeg", True), ("a.h264", "h264", False),
    ("a.y4m", "yuv4mpegpipe", False),
])  # fmt: skip
def test_a_frame_rate_that_the_file_does_not_state_is_said(tmp_path, name, muxer, is_said):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x120:r=50:d=1", "-f", muxer, tmp_path / name)
    frames, source = read(tmp_path / name)
    assert source.rate == (25 if is_said else 50)
    assert [frame.pts * source.time_base for frame in frames] == [number / source.rate for number in range(50)]
    assert bool([clause for clause in source.changes if "states no frame rate, so 25 frames" in clause]) is is_said
