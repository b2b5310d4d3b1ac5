from __future__ import annotations

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest

from starcast.errors import VideoError
from starcast.runtime.video.input.film import Frame
from starcast.runtime.video.input.source import Source


def frames_of(path, **settings):
    with Source(path, **settings) as source:
        return [item for item in source.read() if isinstance(item, Frame)], source


def test_every_frame_comes_in_order_with_its_time_and_duration(make_clip):
    clip = make_clip("a.mp4", frames=20, options=(("preset", "medium"), ("bf", "3")))
    frames, source = frames_of(clip)
    assert [frame.pts * source.time_base for frame in frames] == [number * Fraction(1, 25) for number in range(20)]
    assert {frame.duration * source.time_base for frame in frames} == {Fraction(1, 25)}


def test_what_is_known_before_reading(make_clip):
    clip = make_clip("a.mkv", frames=20, rate=Fraction(30000, 1001), sample_aspect=Fraction(4, 3), sounds=("aac",))
    with Source(clip) as source:
        assert source.shown_size == (48, 85)
        assert abs(source.rate - Fraction(30000, 1001)) < Fraction(1, 100)
        assert abs(source.frames - 20) <= 1
        assert [stream.type for stream in source.others] == ["audio"]


def test_a_raw_stream_without_times_gets_them_from_its_rate(make_clip):
    frames, source = frames_of(make_clip("a.h264", frames=10))
    times = [frame.pts * source.time_base for frame in frames]
    assert len(times) == 10
    assert {late - early for early, late in itertools.pairwise(times)} == {1 / source.rate}


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_damage_in_the_middle_is_counted_and_the_rest_is_read(make_clip, name):
    noise = np.random.default_rng(0)
    images = [noise.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(40)]
    clip = make_clip(name, frames=40, images=images, options=(("preset", "ultrafast"), ("crf", "20"), ("g", "5")))
    content = bytearray(clip.read_bytes())
    chance = random.Random(3)
    for _ in range(60):
        content[chance.randrange(len(content) // 4, 3 * len(content) // 4)] = chance.randrange(256)
    clip.write_bytes(content)
    frames, source = frames_of(clip)
    assert source.damaged + source.patched > 0
    assert len(frames) >= 30


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_cut_file_is_read_to_its_end_and_known_to_be_cut(make_clip, name):
    noise = np.random.default_rng(0)
    images = [noise.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(100)]
    clip = make_clip("whole" + name, frames=100, images=images)
    if name == "a.mp4":
        _index_first(clip)
    cut = clip.with_name(name)
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    frames, source = frames_of(cut)
    assert source.ends_early
    assert 30 < len(frames) < 60
    assert not frames_of(clip)[1].ends_early


def _index_first(path):
    import av

    moved = path.with_name("moved.mp4")
    with (
        av.open(str(path)) as old,
        av.open(str(moved), "w", container_options={"movflags": "+faststart"}) as new,
    ):
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    moved.replace(path)


def test_frames_beyond_the_limit_are_refused_before_decoding(make_clip):
    with pytest.raises(VideoError, match=r"big\.mp4 has frames of 64 x 48 pixels, more than the limit of 3000"):
        Source(make_clip("big.mp4"), max_pixels=3000)


def test_sound_without_frames_is_refused(make_clip, tmp_path):
    import av

    clip, sound = make_clip("a.mp4", sounds=("aac",)), tmp_path / "sound.m4a"
    with av.open(str(clip)) as old, av.open(str(sound), "w", format="mp4") as new:
        stream = new.add_stream_from_template(old.streams.audio[0])
        for packet in old.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    with pytest.raises(VideoError, match="has sound but no video"):
        Source(sound)


def test_a_file_in_which_nothing_decodes_is_refused(make_clip):
    clip = make_clip("a.mp4", images=[np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)] * 12)
    content = bytearray(clip.read_bytes())
    begin = content.index(b"mdat") + 4
    content[begin : content.index(b"moov") - 4] = bytes(content.index(b"moov") - 4 - begin)
    clip.write_bytes(content)
    with pytest.raises(VideoError, match="not one frame can be decoded"):
        Source(clip)
