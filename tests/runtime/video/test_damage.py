"""Damage in the middle of a film and at its end: what is whole is translated, and what is missing is said."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest
from real_films import TEST_IMAGES, ffmpeg, needs_ffmpeg, read

from starcast.runtime.video.input.holes import Holes
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.translate import translate_video

TONE = ("-f", "lavfi", "-i", "sine=r=48000:d=6")
LONG = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=6")
CODECS = {
    "a.ts": ("-c:v", "libx264", "-c:a", "mp2"),
    "a.mkv": ("-c:v", "libx264", "-c:a", "aac", "-cluster_time_limit", "500"),
    "a.webm": ("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus", "-cluster_time_limit", "500"),
    "a.ogv": ("-c:v", "libtheora", "-q:v", "8", "-c:a", "libvorbis"),
    "a.flv": ("-c:v", "libx264", "-c:a", "aac", "-ar", "44100"),
    "a.mpg": ("-c:v", "mpeg2video", "-b:v", "2M", "-c:a", "mp2"), "a.wmv": ("-c:v", "wmv2", "-b:v", "1M"),
}  # fmt: skip


def make_film(path: Path) -> bytes:
    ffmpeg(*LONG, *TONE, "-g", "10", *CODECS[path.name], path)
    return path.read_bytes()


def with_hole(content: bytes, share: float, fill: bytes) -> bytes:
    begin, size = int(len(content) * 0.4), int(len(content) * share)
    return content[:begin] + (fill * size)[:size] + content[begin + size :]


@needs_ffmpeg
@pytest.mark.parametrize(("name", "fill"), [*((name, b"\0") for name in CODECS), ("a.ts", b"text"), ("a.mkv", b"text")])
def test_frames_that_are_missing_in_the_middle_are_said(tmp_path, name, fill):
    content = make_film(tmp_path / name)
    whole = read(tmp_path / name)[1]
    assert (whole.holes, whole.damaged, whole.ends_early, whole.zeros_at_end) == (0, 0, False, 0)
    (tmp_path / f"hole-{name}").write_bytes(with_hole(content, 0.2, fill))
    frames, source = read(tmp_path / f"hole-{name}")
    assert len(frames) < 140
    assert frames[-1].pts * source.time_base > Fraction(55, 10)  # what follows the hole is there
    assert source.holes > 0
    assert 1 < source.first_hole_s < 4


@needs_ffmpeg
def test_a_film_with_a_part_that_cannot_be_read_is_translated_and_counts_as_failed(tiny_bundle, tmp_path):
    content = make_film(tmp_path / "a.mkv")
    (tmp_path / "b.mkv").write_bytes(with_hole(content, 0.2, b"\0"))
    settings = VideoOptions(domain="cat", preset="ultrafast")
    report = translate_video(tiny_bundle, tmp_path / "b.mkv", tmp_path / "o.mp4", settings, progress=lambda line: None)
    sentences = " ".join(report.failed)
    assert re.search(r"damaged: a part of it \d\.\d s after the start cannot be read, so frames or sound", sentences)


@needs_ffmpeg
@pytest.mark.parametrize("share", [70, 200])
def test_a_transport_stream_goes_on_behind_any_damage(tmp_path, share):
    """FFmpeg gives up its search for the next packet after 64 KiB, and asks to try again."""
    content = make_film(tmp_path / "a.ts")
    cut = len(content) // 2 // 188 * 188
    (tmp_path / "b.ts").write_bytes(content[:cut] + b"\0" * (share * 1024) + content[cut:])
    frames, source = read(tmp_path / "b.ts")
    assert len(frames) > 140
    assert not source.ends_early


@pytest.mark.parametrize("name", ["a.ts", "a.mp4", "a.mkv"])
def test_zeros_at_the_end_cost_no_frame_and_are_said(make_clip, tiny_bundle, tmp_path, name):
    clip = make_clip(name, frames=20)
    clip.write_bytes(clip.read_bytes() + bytes(100_000))
    lines: list[str] = []
    settings = VideoOptions(domain="cat", preset="ultrafast")
    report = translate_video(tiny_bundle, clip, tmp_path / "out.mkv", settings, progress=lines.append)
    assert (report.frames, report.failed) == (20, [])
    assert [line for line in lines if line.endswith("ends in 100000 zero bytes, which hold no video")]


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.y4m", "a.gif", "a.ogv"])
def test_a_cut_film_is_known_where_no_length_is_stated(tmp_path, name):
    ffmpeg(*TEST_IMAGES, tmp_path / name)
    assert not read(tmp_path / name)[1].ends_early
    content = (tmp_path / name).read_bytes()
    (tmp_path / f"cut-{name}").write_bytes(content[: len(content) // 2 + 5])
    assert read(tmp_path / f"cut-{name}")[1].ends_early


@needs_ffmpeg
def test_a_cut_dv_film_is_known(tmp_path):
    ffmpeg(*TEST_IMAGES, "-target", "pal-dv", "-t", "0.2", tmp_path / "a.dv")
    assert not read(tmp_path / "a.dv")[1].ends_early
    (tmp_path / "b.dv").write_bytes((tmp_path / "a.dv").read_bytes()[:-777])
    assert read(tmp_path / "b.dv")[1].ends_early


@needs_ffmpeg
def test_frames_that_a_decoder_leaves_out_without_an_error_count_as_damage(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=4", "-c:v", "libx265", "-x265-params", "log-level=none",
           "-preset", "ultrafast", tmp_path / "a.hevc")  # fmt: skip
    content = (tmp_path / "a.hevc").read_bytes()
    (tmp_path / "b.hevc").write_bytes(with_hole(content, 0.15, b"\0"))
    assert read(tmp_path / "a.hevc")[1].damaged == 0
    frames, source = read(tmp_path / "b.hevc")
    assert source.damaged > 0 or len(frames) > 80


def holes_in(packets: list[tuple[int | None, int, float]], container: str = "matroska,webm") -> list[Fraction]:
    """Packets of one stream, each 40 ms long: position, size and time in seconds."""
    holes = Holes(container)
    for position, size, at in packets:
        holes.cover(position, size)
        holes.follow(0, Fraction(str(at)), Fraction(1, 25))
    return holes.at_s


@pytest.mark.parametrize(("packets", "container", "expected"), [
    ([(0, 9000, 0), (9000, 9000, 0.04), (18000, 9000, 0.08)], "matroska,webm", []),
    ([(0, 9000, 0), (29000, 9000, 0.04), (38000, 9000, 0.08)], "matroska,webm", []),  # an index in between
    ([(0, 9000, 0), (9000, 9000, 0.5), (18000, 9000, 3)], "matroska,webm", []),  # a variable rate
    ([(0, 9000, 0), (29000, 9000, 0.5), (38000, 9000, 0.54)], "matroska,webm", [Fraction("0.04")]),
    ([(20000 * at, 1000, second) for at, second in enumerate((0, 0.04, 0.08, 0.12, 0.5))], "mpegts", []),  # stuffing
    ([(0, 9000, 0), (29000, 9000, 0.04), (38000, 9000, 0.5)], "matroska,webm", [Fraction("0.08")]),  # its rest is there
    ([(0, 9000, 0), (None, 20000, 0.04), (29000, 9000, 0.5)], "mpegts", []),
    ([(0, 9000, 0), (0, 20000, 0.04), (29000, 9000, 0.5)], "ogg", []),  # packets of one page
    ([(0, 9000, 0), (29000, 9000, 0.5), (38000, 9000, 0.54)], "mov,mp4,m4a,3gp,3g2,mj2", []),
], ids=["none", "index", "gaps", "hole", "stuffed", "late", "unknown", "page", "mov"])  # fmt: skip
def test_a_hole_is_missing_bytes_and_missing_time_together(packets, container, expected):
    assert holes_in(packets, container) == expected
