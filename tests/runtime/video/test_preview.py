"""`video --preview`: the first seconds, a contact sheet, and nothing else."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from starcast.errors import OptionError
from starcast.runtime.video.input.film import Frame
from starcast.runtime.video.input.source import open_film
from starcast.runtime.video.many.translate_many import translate_videos
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.preview_sheet import style_at
from starcast.runtime.video.timeline.course import Course
from starcast.runtime.video.translate import translate_video

QUIET = {"progress": lambda line: None}
FAR = 60  # levels between the halves of the clip


def options(**changes):
    return VideoOptions(**{"domain": "dog", "seed": 3, "preset": "ultrafast", "crf": 1, "batch": 4, "preview": True}
                        | changes)  # fmt: skip


@pytest.fixture
def clip(make_clip):
    """Five seconds, of which the last half is lighter, with a key frame a second."""
    images = [np.full((48, 64, 3), 60 if number < 25 else 60 + FAR, np.uint8) for number in range(50)]
    keys = (("preset", "ultrafast"), ("crf", "1"), ("g", "10"))
    return make_clip("in.mp4", frames=50, rate=Fraction(10), images=images, options=keys, sounds=("aac",))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_preview_shows_the_first_seconds_and_moments_and_writes_nothing_else(
    clip, watch, tiny_bundle, offset_of, tmp_path
):
    lines: list[str] = []
    report = translate_video(tiny_bundle, clip, tmp_path / "dog.mp4", options(), progress=lines.append)
    assert names(tmp_path) == ["dog.preview.jpg", "dog.preview.mp4", "in.mp4"]
    film = watch(tmp_path / "dog.preview.mp4")
    assert (report.frames, film.times[-1]) == (30, Fraction(29, 10))
    assert film.samples[0] == pytest.approx(3 * 48000, abs=2048)
    assert any("The whole video has 50 frames and would take about" in line for line in lines)
    # 12 moments in 3 columns: the source, 267 x 200, beside the translation, 200 x 200
    with Image.open(tmp_path / "dog.preview.jpg") as sheet:
        shown = np.asarray(sheet.convert("RGB")).astype(float)
    tall, wide = shown.shape[0] // 4, shown.shape[1] // 3
    assert (tall, wide) == (200 + 20 + 16, 267 + 200 + 16)
    for number in range(12):
        level = 60 if number < 6 else 60 + FAR
        top, left = number // 3 * tall + 8 + 20 + 100, number % 3 * wide + 8
        assert np.abs(shown[top, left + 130] - level).max() <= 4
        expected = np.clip(level + offset_of("dog", 3), 0, 255)
        assert np.abs(shown[top, left + 267 + 100] - expected).max() <= 6


def test_the_video_is_made_after_its_preview_and_the_preview_again_after_the_video(clip, tiny_bundle, tmp_path):
    out = tmp_path / "dog.mp4"
    translate_video(tiny_bundle, clip, out, options(), **QUIET)
    assert translate_video(tiny_bundle, clip, out, options(preview=False), **QUIET).frames == 50
    content = out.read_bytes()
    assert translate_video(tiny_bundle, clip, out, options(), **QUIET).frames == 30
    assert out.read_bytes() == content
    assert translate_video(tiny_bundle, clip, out, options(preview=False), **QUIET).is_there_already


@pytest.mark.parametrize("name", ["dog.preview.mp4", "dog.preview.jpg"])
def test_a_file_that_is_no_preview_is_never_replaced(clip, tiny_bundle, tmp_path, name):
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(OptionError, match=f"{name} is in the way"):
        translate_video(tiny_bundle, clip, tmp_path / "dog.mp4", options(overwrite=True), **QUIET)
    assert names(tmp_path) == sorted([name, "in.mp4"])
    assert (tmp_path / name).read_bytes() == b"mine"


def test_a_preview_plays_everywhere_whatever_the_video_is(clip, watch, tiny_bundle, tmp_path):
    for target in (tmp_path / "dog.mkv", tmp_path / "frames" / "shot_%05d.png"):
        translate_video(tiny_bundle, clip, target, options(crf=None, preset=None), **QUIET)
    assert names(tmp_path) == ["dog.preview.jpg", "dog.preview.mp4", "frames", "in.mp4"]
    assert names(tmp_path / "frames") == ["shot.preview.jpg", "shot.preview.mp4"]
    assert [codec for _, codec in watch(tmp_path / "dog.preview.mp4").streams] == ["h264", "aac"]


def test_moments_have_the_style_of_their_time_and_a_part_is_previewed_at_its_rate(
    clip, tiny_bundle, offset_of, tmp_path
):
    keys = options(seed=None, seeds=("3", "4"), start="1", end="5", fps="5", recursion="0.0001", smooth=0.01)
    report = translate_video(tiny_bundle, clip, tmp_path / "dog.mp4", keys, **QUIET)
    assert report.frames == 15
    with Image.open(tmp_path / "dog.preview.jpg") as sheet:
        shown = np.asarray(sheet.convert("RGB")).astype(float)
    first, last = shown[8 + 20 + 100, 8 + 267 + 100], shown[-108, -108]
    assert np.abs(first - np.clip(60 + offset_of("dog", 3), 0, 255)).max() <= 12
    assert np.abs(last - np.clip(60 + FAR + offset_of("dog", 4), 0, 255)).max() <= 12


def test_several_videos_get_a_preview_each_and_no_summary_page(clip, make_clip, tiny_bundle, tmp_path):
    other = make_clip("b.mp4", frames=3)
    (tmp_path / "dogs").mkdir()
    report = translate_videos(tiny_bundle, [clip, other], str(tmp_path / "dogs"), options(overwrite=True), **QUIET)
    assert report.summary() == "2 previews written, 0 failed. No video was translated."
    assert names(tmp_path / "dogs") == ["b.preview.jpg", "b.preview.mp4", "in.preview.jpg", "in.preview.mp4"]


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4")])
def test_a_film_that_is_entered_in_the_middle_has_the_frames_and_times_of_one_read_from_the_start(
    make_clip, name, codec
):
    noise = np.random.default_rng(0)
    images = [noise.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(60)]
    coding = (("g", "12"), *((("preset", "veryfast"),) if codec == "libx264" else ()))
    path = make_clip(name, frames=60, images=images, codec=codec, options=coding)

    def frames(seek_s):
        with open_film(path) as film:
            if seek_s is not None:
                film.seek(seek_s)
            return {
                item.pts * film.time_base: item.frame.to_ndarray() for item in film.read() if isinstance(item, Frame)
            }

    whole, rest = frames(None), frames(Fraction(50, 25))
    assert len(whole) == 60
    assert 10 <= len(rest) < 30
    assert all((whole[time] == pixels).all() for time, pixels in rest.items())


def test_a_format_without_an_index_is_entered_early_enough(make_clip):
    path = make_clip("a.ts", frames=60, rate=Fraction(2), options=(("g", "6"),))
    with open_film(path) as film:
        film.seek(Fraction(25))
        times = [item.pts * film.time_base for item in film.read() if isinstance(item, Frame)]
    assert 10 < times[0] <= 25
    assert times[-1] == Fraction(59, 2)


def test_the_sheet_names_the_styles_before_and_after_a_moment():
    course = Course((Fraction(0), Fraction(10)), ("smooth", "smooth"), (1, 0), Fraction(20))
    facts = [{"label": "cat 2"}, {"label": "dog 1"}]
    times = [Fraction(0), Fraction(5), Fraction(10), Fraction(15), Fraction(25)]
    assert [style_at(course, facts, time) for time in times] == [
        "dog 1", "dog 1 to cat 2", "cat 2", "cat 2 to dog 1", "dog 1 to cat 2"
    ]  # fmt: skip


def test_a_stream_has_no_preview(clip, tiny_bundle, tmp_path):
    from click.testing import CliRunner

    from starcast.runtime.video.cli import video

    result = CliRunner().invoke(video, [str(tiny_bundle), str(clip), "-o", "-", "--domain", "dog", "--preview"])
    assert isinstance(result.exception, OptionError)
    assert "--preview reads several places" in str(result.exception)
