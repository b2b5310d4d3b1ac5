"""Source and Sink together, the translation left out: times, sound and what travels beside the frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from starcast.errors import VideoError
from starcast.runtime.encoding import EncodingOptions
from starcast.runtime.video import colour
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.input.film import Frame
from starcast.runtime.video.input.source import Source
from starcast.runtime.video.output.sink import Sink

NINETY = Fraction(1, 90000)
FAST = EncodingOptions(crf=1, preset="ultrafast")
UNEVEN = [0, 3600, 4950, 10800, 11970, 30000, 30001, 30010, 40000, 60000, 60500, 70000]


def test_uneven_times_come_out_exact(make_clip, passed_through, watch, tmp_path):
    clip = make_clip("a.mp4", pts=UNEVEN, time_base=NINETY, sounds=("aac",))
    passed_through(clip, tmp_path / "out.mp4")
    assert watch(tmp_path / "out.mp4").times == [tick * NINETY for tick in UNEVEN]


def test_frames_keep_their_order_past_the_encoders_reordering(make_clip, passed_through, watch, tmp_path):
    clip = make_clip("a.mp4", frames=40, options=(("preset", "medium"), ("bf", "3"), ("crf", "1")))
    passed_through(clip, tmp_path / "out.mp4")
    before, after = watch(clip), watch(tmp_path / "out.mp4")
    assert after.times == before.times
    assert np.abs(np.subtract(after.levels, before.levels)).max() <= 2


def stored_times(path: Path) -> list[Fraction]:
    """The places of the frames in an AVI, which is all that it stores; when they are shown, FFmpeg guesses."""
    with av.open(str(path)) as container:
        return [packet.dts * packet.time_base for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.flv"])
def test_count_and_duration_stay(make_clip, passed_through, watch, tmp_path, name):
    clip = make_clip(name, frames=30, sounds=("mp3",))
    assert passed_through(clip, tmp_path / "out.mp4").frames == 30
    before, after = watch(clip), watch(tmp_path / "out.mp4")
    assert len(after.times) == len(before.times) == 30
    assert abs(after.duration_s - before.duration_s) <= Fraction(1, 25)
    times = stored_times(clip) if name.endswith("avi") else before.times
    assert after.times[-1] - after.times[0] == times[-1] - times[0]


@pytest.mark.parametrize("length", [1, 40])
def test_the_last_frame_keeps_its_length(make_clip, passed_through, watch, tmp_path, length):
    clip = make_clip("a.mp4", frames=length, rate=Fraction(2))
    passed_through(clip, tmp_path / "out.mp4")
    assert watch(tmp_path / "out.mp4").duration_s == Fraction(length, 2)


def test_a_late_beginning_keeps_frames_and_sound_together(make_clip, passed_through, watch, tmp_path):
    late = [90000 + 3600 * number for number in range(12)]
    clip = make_clip("a.ts", pts=late, time_base=NINETY, sounds=("aac",), sound_start_s=Fraction(6, 5))
    begins = passed_through(clip, tmp_path / "out.mp4").start_s
    before, after = watch(clip), watch(tmp_path / "out.mp4")
    assert begins > 0
    assert min(after.times[0], after.sound_starts[0]) == 0
    distance = before.sound_starts[0] - before.times[0]
    assert abs(after.sound_starts[0] - after.times[0] - distance) < Fraction(1, 10000)


@pytest.mark.parametrize("target", ["out.mp4", "out.mov", "out.mkv"])
@pytest.mark.parametrize("codec", ["aac", "mp3", "ac3"])
def test_sound_is_copied_packet_by_packet(make_clip, passed_through, tmp_path, codec, target):
    clip = make_clip("a.mp4", sounds=(codec,))
    assert passed_through(clip, tmp_path / target).notes == []
    assert sound_packets(tmp_path / target) == sound_packets(clip)


def sound_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def test_packets_shorter_than_the_containers_tick_do_not_drift(make_clip, passed_through, tmp_path):
    clip = make_clip("a.mkv", sounds=("mp2",), frames=50)
    with av.open(str(clip)) as old, av.open(str(tmp_path / "short.mkv"), "w") as new:
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        sounds = 0
        for packet in old.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "audio":  # as TrueHD has it: 40 samples a packet, in ticks of a millisecond
                packet.pts = packet.dts = sounds * 40 // 48
                packet.duration, sounds = 1, sounds + 1
            packet.stream = streams[packet.stream.index]
            new.mux(packet)
    passed_through(tmp_path / "short.mkv", tmp_path / "out.mkv")
    assert sound_times(tmp_path / "out.mkv") == [Fraction(number * 40 // 48, 1000) for number in range(sounds)]


def sound_times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [packet.dts * packet.time_base for packet in container.demux(audio=0) if packet.size]


def test_every_sound_stream_is_kept(make_clip, passed_through, watch, tmp_path):
    clip = make_clip("a.mp4", sounds=("aac", "mp3"))
    passed_through(clip, tmp_path / "out.mp4")
    assert watch(tmp_path / "out.mp4").samples == watch(clip).samples


def test_sound_that_players_of_mp4_refuse_becomes_aac_and_that_is_said(make_clip, passed_through, watch, tmp_path):
    clip = make_clip("a.mov", sounds=("pcm_s16le",))
    notes = passed_through(clip, tmp_path / "out.mp4").notes
    assert len(notes) == 1
    assert "pcm_s16le" in notes[0]
    assert "AAC" in notes[0]
    after = watch(tmp_path / "out.mp4")
    assert after.streams == [("video", "h264"), ("audio", "aac")]
    assert 0 <= after.samples[0] - 23040 < 1024  # whole AAC frames
    assert abs(loudness(tmp_path / "out.mp4") / loudness(clip) - 1) < 0.05


def loudness(path: Path) -> float:
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=48000)
        waves = [sound.to_ndarray() for frame in container.decode(audio=0) for sound in resampler.resample(frame)]
    return float(np.sqrt(np.mean(np.concatenate(waves, axis=1) ** 2)))


def test_the_same_sound_is_copied_into_a_container_that_takes_it(make_clip, passed_through, watch, tmp_path):
    clip = make_clip("a.mov", sounds=("pcm_s16le",))
    assert passed_through(clip, tmp_path / "out.mkv").notes == []
    assert watch(tmp_path / "out.mkv").samples == [23040]


def test_metadata_and_chapters_are_carried(make_clip, passed_through, tmp_path):
    clip = make_clip(
        "a.mp4", metadata=(("title", "A walk"),), chapters=((0, 200, "Out"), (200, 480, "Home")), sounds=("aac",)
    )
    assert passed_through(clip, tmp_path / "out.mp4").notes == []
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.metadata["title"] == "A walk"
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["Out", "Home"]
        assert [chapter["start"] * chapter["time_base"] for chapter in container.chapters()] == [0, Fraction(1, 5)]


def test_a_turned_clip_comes_out_upright_without_a_turn(make_clip, passed_through, watch, tmp_path):
    clip = make_clip("a.mp4", rotation=90)
    passed_through(clip, tmp_path / "out.mp4")
    seen = watch(tmp_path / "out.mp4").video
    assert (seen["height"], seen["width"], seen["rotation"]) == (64, 48, 0)


def test_the_output_is_tagged_bt709_limited(make_clip, passed_through, watch, tmp_path):
    clip = make_clip("a.mp4", pix_fmt="yuv444p", colours=(("colorspace", 6), ("color_range", 2)))
    passed_through(clip, tmp_path / "out.mp4")
    seen = watch(tmp_path / "out.mp4").video
    assert (seen["colorspace"], seen["color_range"], seen["color_primaries"], seen["color_trc"]) == (1, 1, 1, 1)


def test_the_index_comes_before_the_frames_so_that_browsers_begin_at_once(make_clip, passed_through, tmp_path):
    passed_through(make_clip("a.mp4"), tmp_path / "out.mp4")
    content = (tmp_path / "out.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_streams_that_cannot_be_kept_are_named(make_clip, passed_through, watch, tmp_path):
    clip, with_cover = make_clip("a.mkv", sounds=("aac",)), tmp_path / "b.mkv"
    with av.open(str(clip)) as old, av.open(str(with_cover), "w") as new:
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        second = new.add_stream("mpeg4", rate=25)
        second.width, second.height, second.pix_fmt = 16, 16, "yuv420p"
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
        new.mux(second.encode(av.VideoFrame(16, 16, "yuv420p")))
        new.mux(second.encode(None))
    (note,) = passed_through(with_cover, tmp_path / "out.mp4").notes
    assert "video (mpeg4, stream 2)" in note
    assert "dropped" in note
    assert watch(tmp_path / "out.mp4").streams == [("video", "h264"), ("audio", "aac")]


def test_what_is_true_of_the_old_file_only_is_not_carried(make_clip, passed_through, tmp_path):
    clip = make_clip("a.mkv", sounds=("aac",), metadata=(("title", "A walk"), ("encoder", "a camera")))
    passed_through(clip, tmp_path / "out.mkv")
    with av.open(str(clip)) as old, av.open(str(tmp_path / "out.mkv")) as new:
        assert new.metadata["title"] == "A walk"
        assert "camera" not in str(new.metadata)
        assert old.streams.audio[0].metadata["DURATION"]  # the muxer writes its own, once
        assert [key.upper() for key in new.streams.audio[0].metadata].count("DURATION") == 1


def test_a_damaged_piece_of_sound_is_counted_and_the_rest_is_written(make_clip, watch, tmp_path):
    clip = make_clip("a.ts", sounds=("aac",))
    with Source(clip) as source, Sink(
        tmp_path / "out.mp4", "out.mp4", (48, 64), source.rate, source.time_base, FAST,
        source=source,
    ) as sink:  # fmt: skip
        for number, item in enumerate(source.read()):
            if isinstance(item, Frame):
                sink.write(RgbFrame(colour.to_rgb(item.frame), item.pts, item.duration))
            else:
                sink.write(item)
            if number == 8:
                broken = av.Packet(b"no ADTS header")
                broken.stream = source.container.streams.audio[0]
                sink.write(broken)
    assert sink.refused == 1
    after = watch(tmp_path / "out.mp4")
    assert len(after.times) == 12
    assert after.samples == watch(clip).samples


def test_a_full_disk_is_one_sentence(tmp_path):
    resource = pytest.importorskip("resource", reason="file size limits are a matter of Unix")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0)

    def write():
        with Sink(
            tmp_path / "a.mkv",
            "a.mkv",
            (64, 64),
            Fraction(25),
            Fraction(1, 25),
            FAST,
        ) as sink:
            for number in range(60):
                sink.write(RgbFrame(noise.integers(0, 256, (64, 64, 3), dtype=np.uint8), number, 1))

    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(VideoError, match=r"a\.mkv cannot be written \(.*\): free some disk space, or"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
