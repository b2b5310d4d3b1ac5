"""Sound, subtitles, fonts and covers in each container: copied where it takes them, otherwise converted."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from beacons import assert_together, write_beacon
from subtitle_lines import subtitles

from starcast.runtime.encoding import EncodingOptions
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.input.film import Frame
from starcast.runtime.video.input.source import open_film
from starcast.runtime.video.output.sink import Sink

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="only the ffmpeg program makes this film")
SRT = "1\n00:00:00,200 --> 00:00:00,600\n<i>Hello</i>\n\n2\n00:00:01,000 --> 00:00:01,500\nand\nbye, all\n"
SPOKEN = [(0.2, 0.4, "Hello"), (1.0, 0.5, "and\nbye, all")]
FAST = {"preset": "ultrafast"}


def ffmpeg(*arguments: object) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL)


def write(source: Path, target: Path, **options: object) -> list[str]:
    """Grey frames in place of the source's, with all that is beside them; returns the notes."""
    encoding = EncodingOptions(**({} if options.get("codec") in ("prores", "ffv1") else FAST), **options)
    with open_film(source) as film:
        with Sink(target, target.name, (64, 64), film.rate, film.time_base, encoding, source=film) as sink:
            for item in film.read(sink.tracks.audio_to_decode):
                if isinstance(item, Frame):
                    level = round(float(item.frame.to_ndarray(format="gray").mean()))
                    sink.write(RgbFrame(np.full((64, 64, 3), level, np.uint8), item.pts, item.duration))
                else:
                    sink.write(item)
        return sink.notes


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A film with subtitles of each kind, in a container that takes them."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("only the ffmpeg program makes these films")
    folder = tmp_path_factory.mktemp("texts")
    (folder / "s.srt").write_text(SRT)
    films = {}
    for codec, suffix in (("subrip", "mkv"), ("ass", "mkv"), ("webvtt", "webm"), ("mov_text", "mp4")):
        films[codec] = folder / f"{codec}.{suffix}"
        video = ("libvpx", "-deadline", "realtime") if suffix == "webm" else ("libx264", "-preset", "ultrafast")
        ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=10:d=2", "-i", folder / "s.srt", "-map", 0, "-map", 1,
               "-c:v", *video, "-c:s", codec, "-metadata:s:s:0", "language=deu", films[codec])  # fmt: skip
    return films


@pytest.mark.parametrize(("suffix", "kept", "made"), [
    (".mp4", ["mov_text"], "mov_text"), (".m4v", ["mov_text"], "mov_text"), (".mov", ["mov_text"], "mov_text"),
    (".mkv", ["subrip", "ass", "webvtt"], "subrip"), (".webm", ["webvtt"], "webvtt"),
])  # fmt: skip
@pytest.mark.parametrize("codec", ["subrip", "ass", "webvtt", "mov_text"])
def test_subtitles_are_copied_or_converted_with_their_words_and_times(texts, tmp_path, codec, suffix, kept, made):
    notes = write(texts[codec], tmp_path / f"out{suffix}")
    stored, lines = subtitles(tmp_path / f"out{suffix}")
    names = {"ass": ("ass", "ssa"), "subrip": ("subrip", "srt")}
    wanted = codec if codec in kept else made
    assert stored in names.get(wanted, (wanted,))
    assert [line[2] for line in lines] == [line[2] for line in SPOKEN]
    assert np.abs(np.array([line[:2] for line in lines]) - [line[:2] for line in SPOKEN]).max() <= 0.011
    assert any("are converted to" in note for note in notes) == (codec not in kept)
    with av.open(str(tmp_path / f"out{suffix}")) as film:
        assert film.streams.subtitles[0].metadata["language"] in ("deu", "ger")


@needs_ffmpeg
def test_converted_subtitles_keep_their_distance_to_the_frames(texts, tmp_path):
    """The frames begin at 0.5 s, 0.3 s after the first line."""
    ffmpeg("-i", texts["subrip"], "-map", 0, "-c:s", "copy", "-c:v", "libx264", "-preset", "ultrafast", "-vf",
           "select='gte(t,0.5)'", "-copyts", "-fps_mode", "passthrough", tmp_path / "late.mkv")  # fmt: skip
    write(tmp_path / "late.mkv", tmp_path / "out.mp4")
    assert subtitles(tmp_path / "out.mp4")[1] == [(0.0, 0.4, "Hello"), (0.8, 0.5, "and\nbye, all")]
    with av.open(str(tmp_path / "out.mp4")) as film:
        frame = next(film.decode(video=0))
        assert frame.pts * Fraction(frame.time_base) == Fraction(3, 10)


@needs_ffmpeg
def test_bitmap_subtitles_are_dropped_where_the_container_refuses_them(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=10:d=1", "-c:v", "libx264", tmp_path / "v.mkv")
    with av.open(str(tmp_path / "v.mkv")) as old, av.open(str(tmp_path / "b.mkv"), "w") as new:
        video = new.add_stream_from_template(old.streams.video[0])
        bitmaps = new.add_stream("dvdsub")
        bitmaps.codec_context.subtitle_header = None
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = video
                new.mux(packet)
        blank = av.Packet(bytes(8))
        blank.pts = blank.dts = 100
        blank.duration, blank.time_base, blank.stream = 200, Fraction(1, 1000), bitmaps
        new.mux(blank)
    (note,) = write(tmp_path / "b.mkv", tmp_path / "out.webm")[:1]
    assert "subtitles (dvdsub, stream 1) are dropped: .webm does not take dvdsub" in note


@pytest.mark.parametrize(("suffix", "options", "sound", "note"), [
    (".webm", {}, "opus", "encoded again as Opus: .webm does not take aac"),
    (".mkv", {"codec": "ffv1"}, "aac", ""), (".mov", {"codec": "prores"}, "aac", ""),
    (".mp4", {"codec": "av1"}, "aac", ""),
])  # fmt: skip
def test_sound_and_frames_stay_together(tmp_path, suffix, options, sound, note):
    write_beacon(tmp_path / "a.mp4", 2, 2, codecs=("libx264", "aac"), preset="ultrafast")
    notes = write(tmp_path / "a.mp4", tmp_path / f"out{suffix}", **options)
    assert note in " ".join(notes)
    with av.open(str(tmp_path / f"out{suffix}")) as film:
        assert film.streams.audio[0].codec_context.name.removeprefix("lib") == sound
    assert_together(tmp_path / f"out{suffix}", 2, 0.0)


@pytest.mark.parametrize(("lossless", "suffix", "options", "sound"), [
    ("tta", ".mkv", {"codec": "ffv1"}, "flac"), ("flac", ".mov", {"codec": "prores"}, "pcm_s24le"),
    ("flac", ".mov", {}, "aac"), ("tta", ".mp4", {}, "aac"), ("flac", ".webm", {}, "opus"),
])  # fmt: skip
def test_sound_that_the_container_refuses_is_encoded_as_fits_the_frames(tmp_path, lossless, suffix, options, sound):
    write_beacon(tmp_path / "a.mkv", 2, 2, codecs=("mpeg4", lossless))
    write(tmp_path / "a.mkv", tmp_path / f"out{suffix}", **options)
    with av.open(str(tmp_path / f"out{suffix}")) as film:
        assert film.streams.audio[0].codec_context.name.removeprefix("lib") == sound
    assert_together(tmp_path / f"out{suffix}", 2, 0.0)


@needs_ffmpeg
@pytest.mark.parametrize("codec", ["libopus", "libvorbis"])
def test_what_webm_takes_is_copied_into_it(tmp_path, codec):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=10:d=1", "-f", "lavfi", "-i", "sine=440:r=48000:d=1", "-c:v",
           "libx264", "-c:a", codec, tmp_path / "a.mkv")  # fmt: skip
    notes = write(tmp_path / "a.mkv", tmp_path / "out.webm")
    assert not any("sound" in note for note in notes)


@pytest.mark.parametrize(("layout", "stored"), [
    ("mono", "mono"), ("stereo", "stereo"), ("2.1", "5.1"), ("3.1", "5.1"), ("4.0", "6.1"), ("quad", "quad"),
    ("5.0", "5.0"), ("5.1", "5.1"), ("5.1(side)", "5.1"), ("6.0", "6.1"), ("hexagonal", "6.1"), ("6.1", "6.1"),
    ("7.1", "7.1"),
])  # fmt: skip
def test_opus_has_a_place_for_each_channel(layout, stored):
    from starcast.runtime.video.output import channels

    source, storage = av.AudioLayout(layout), channels.store(av.AudioLayout(layout), "libopus")
    assert storage.layout == stored
    weights = channels.matrix(source, av.AudioLayout(stored))
    assert (weights > 0).sum(0).tolist() == [1] * source.nb_channels
    assert (weights > 0).sum(1).max() == 1
    context = av.CodecContext.create("libopus", "w")
    context.layout, context.sample_rate, context.format = stored, 48000, "flt"
    context.open()


@pytest.fixture
def with_cover(tmp_path: Path) -> Path:
    if shutil.which("ffmpeg") is None:
        pytest.skip("only the ffmpeg program makes this film")
    ffmpeg("-f", "lavfi", "-i", "color=red:s=32x32:d=0.04", tmp_path / "c.png")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=10:d=1", "-i", tmp_path / "c.png", "-map", 0, "-map", 1, "-c:v:0",
           "libx264", "-c:v:1", "copy", "-disposition:v:1", "attached_pic", tmp_path / "a.mp4")  # fmt: skip
    return tmp_path / "a.mp4"


@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".mkv"])
def test_a_cover_is_kept_byte_for_byte(with_cover, tmp_path, suffix):
    assert write(with_cover, tmp_path / f"1{suffix}") == []
    assert write(tmp_path / f"1{suffix}", tmp_path / f"out{suffix}") == []
    with av.open(str(tmp_path / f"out{suffix}")) as film:
        pictures = [stream for stream in film.streams.video if stream.disposition & av.stream.Disposition.attached_pic]
        assert len(pictures) == len(film.streams.video) - 1 == 1
        image = next(bytes(packet) for packet in film.demux(pictures[0]) if packet.size)
    assert image == (tmp_path / "c.png").read_bytes()


def test_a_container_without_covers_says_so(with_cover, tmp_path):
    (note,) = write(with_cover, tmp_path / "out.mov")
    assert note == "cover (png, stream 1) is dropped: .mov does not take it as a cover (.mp4 or .m4v or .mkv does)"


@needs_ffmpeg
@pytest.mark.parametrize(("suffix", "place"), [(".mov", "stream"), (".mp4", "stream"), (".mkv", "file")])
def test_a_timecode_is_kept(tmp_path, suffix, place):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=1", "-c:v", "libx264", "-timecode", "01:02:03:04",
           tmp_path / "a.mov")  # fmt: skip
    write(tmp_path / "a.mov", tmp_path / f"out{suffix}")
    with av.open(str(tmp_path / f"out{suffix}")) as film:
        written = [film.metadata, *(stream.metadata for stream in film.streams)]
    assert "01:02:03:04" in [text for entry in written for key, text in entry.items() if key.lower() == "timecode"]
