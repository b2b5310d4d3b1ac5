"""Healthy and cut files that decoders find odd: every frame comes, as `ffmpeg` gives it, and what is amiss is said."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from real_films import TEST_IMAGES, ffmpeg, needs_ffmpeg, read

from starcast.runtime.progress import ProgressBar
from starcast.runtime.video.input.joined import another_film_follows
from starcast.runtime.video.input.programmes import programmes_of
from starcast.runtime.video.input.source import Source


@needs_ffmpeg
def test_packets_of_0_bytes_repeat_the_frame_before_them(tmp_path):
    red = ("-f", "lavfi", "-i", "color=red:s=160x120:r=25:d=2")
    ffmpeg(*red, "-c:v", "libtheora", tmp_path / "a.ogv")
    frames, source = read(tmp_path / "a.ogv")
    assert (source.damaged, source.ends_early) == (0, False)
    assert [frame.pts * source.time_base for frame in frames] == [Fraction(at, 25) for at in range(len(frames))]
    with av.open(str(tmp_path / "a.ogv")) as container:
        sizes = [packet.size for packet in container.demux(video=0) if packet.pts is not None]
    assert len(frames) == len(sizes) > 40
    assert sizes.count(0) > 40


@needs_ffmpeg
@pytest.mark.parametrize("share", [3, 5, 8])
@pytest.mark.parametrize("codec", [("libx264", "-bf", "3"), ("mpeg4", "-bf", "2")], ids=["H.264", "MPEG-4"])
@pytest.mark.parametrize("suffix", ["mp4", "avi"])
def test_a_cut_film_gives_as_many_frames_as_ffmpeg_finds_in_it(tmp_path, codec, share, suffix):
    whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    ffmpeg(*TEST_IMAGES, "-c:v", *codec, *(("-movflags", "+faststart") if suffix == "mp4" else ()), whole)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * share // 10])
    lines = ffmpeg("-i", cut, "-vsync", "0", "-f", "framemd5", "-").splitlines()
    frames, source = read(cut)
    assert source.ends_early
    assert len(frames) == len([line for line in lines if not line.startswith("#")]) > 3


@needs_ffmpeg
def test_a_multipart_stream_ends_at_its_last_mark_and_not_early(tmp_path):
    ffmpeg(*TEST_IMAGES, "-f", "mpjpeg", tmp_path / "a.mjpeg")
    frames, source = read(tmp_path / "a.mjpeg")
    assert (len(frames), source.ends_early) == (50, False)
    content = (tmp_path / "a.mjpeg").read_bytes()
    (tmp_path / "cut.mjpeg").write_bytes(content[: len(content) * 2 // 3])
    assert read(tmp_path / "cut.mjpeg")[1].ends_early


@needs_ffmpeg
def test_images_one_after_another_are_a_film(tmp_path):
    ffmpeg(*TEST_IMAGES, "-c:v", "mjpeg", "-f", "mjpeg", tmp_path / "a.mjpeg")
    assert len(read(tmp_path / "a.mjpeg")[0]) == 50


@needs_ffmpeg
def test_sound_that_is_listed_but_not_there_is_said(passed_through, tmp_path):
    """Blu-ray: TrueHD is listed with AC-3 for players that lack it, which some discs leave out."""
    tone = ("-f", "lavfi", "-i", "sine=440:r=48000:d=2")
    ffmpeg(*TEST_IMAGES, *tone, "-c:v", "libx264", "-c:a", "truehd", "-strict", "-2", "-mpegts_m2ts_mode", "1",
           tmp_path / "a.m2ts")  # fmt: skip
    passage = passed_through(tmp_path / "a.m2ts", tmp_path / "out.mkv")
    assert passage.frames == 50
    assert passage.notes == ["sound (ac3, stream 2) is dropped: no sound of it was found"]


@needs_ffmpeg
def test_a_programme_keeps_its_own_sound(tmp_path):
    """The first sound in the file belongs to the programme that is not translated."""
    tone = ("-f", "lavfi", "-i", "sine=440:r=48000:d=2")
    ffmpeg(*TEST_IMAGES, *TEST_IMAGES, *tone, *tone, "-map", 0, "-map", 1, "-map", 2, "-map", 3, "-c:v", "libx264",
           "-c:a", "mp2", "-program", "st=0:st=3", "-program", "st=1:st=2", tmp_path / "a.ts")  # fmt: skip
    assert programmes_of(tmp_path / "a.ts") == [{256, 259}, {257, 258}]
    with Source(tmp_path / "a.ts") as source:
        assert [stream.id for stream in source.others] == [259]
        assert [stream.id for stream in source.other_programmes] == [257, 258]


def test_the_shape_of_pixels_is_read_for_every_frame(make_clip, tmp_path):
    """720x576 wide pixels of both kinds, in eighths: 16:15 is 4:3, 64:45 is 16:9."""
    parts = []
    for aspect in (Fraction(16, 15), Fraction(64, 45)):
        clip = make_clip("part.ts", frames=20, height=72, width=90, sample_aspect=aspect,
                         options=(("preset", "ultrafast"), ("bf", "3")))  # fmt: skip
        parts.append(clip.read_bytes())
    (tmp_path / "a.ts").write_bytes(b"".join(parts))
    frames, _ = read(tmp_path / "a.ts")
    assert [frame.square_size for frame in frames] == [(72, 96)] * 20 + [(72, 128)] * 20


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.flv"])
def test_a_second_film_behind_the_end_of_the_first_is_noticed(make_clip, tmp_path, name):
    clip = make_clip(name, frames=10, codec="flv" if name.endswith("flv") else "libx264")
    assert not read(clip)[1].is_followed
    (tmp_path / ("j" + name)).write_bytes(clip.read_bytes() * 3)
    assert read(tmp_path / ("j" + name))[1].is_followed
    assert not another_film_follows(clip, "mpegts", 0)


def test_a_native_frame_of_another_aspect_keeps_its_circles_round():
    from starcast.runtime.video.geometry import fit_frame

    rows, columns = np.ogrid[:96, :256]
    circle = ((rows - 48) ** 2 + (columns - 128) ** 2 < 40**2)[..., None] * np.full(3, 255, np.uint8)
    inside = fit_frame(circle, (96, 128), "native")[..., 0] > 128
    assert abs(np.ptp(np.flatnonzero(inside.any(0))) - np.ptp(np.flatnonzero(inside.any(1)))) <= 2


@pytest.mark.parametrize(("total", "line"), [(0, "190 frames"), (100, "190 frames"), (200, "190 of 200 frames")])
def test_progress_names_a_total_only_if_it_can_be_true(monkeypatch, total, line):
    monkeypatch.setattr("starcast.runtime.progress.SPARSE_S", -1.0)
    lines: list[str] = []
    with ProgressBar(total, "frames", show=True, progress=lines.append) as bar:
        bar.advance(190)
    assert lines == [line]
