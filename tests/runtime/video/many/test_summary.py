"""The page about many videos: what it shows, that names cannot break out of it, and whose page it replaces."""

from __future__ import annotations

import base64
import re

import cv2
import numpy as np
import pytest

from starcast.runtime.video.many.summary import PAGE
from starcast.runtime.video.many.thumbnails import thumbnails_of
from starcast.runtime.video.many.translate_many import translate_videos
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.translate import translate_video

FAST = VideoOptions(domain="dog", seed=3, preset="ultrafast")


@pytest.fixture
def translate(tiny_bundle, tmp_path):
    """translate(sources): the lines that a user saw; the videos go to `out`."""

    def run(*sources):
        lines = []
        translate_videos(tiny_bundle, sources, str(tmp_path / "out"), FAST, progress=lines.append)
        return lines

    return run


def pixels_of(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.partition("base64,")[2])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_the_page_shows_each_video_and_escapes_its_name(make_clip, translate, tmp_path):
    good, bad = make_clip("a<b>&'c'.mp4", frames=6), tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    translate(good, bad)
    page = (tmp_path / "out" / PAGE).read_text("utf-8")
    assert "1 of 2 videos are done, 1 failed." in page
    assert "<b>" not in page.partition("<body>")[2]
    assert "a&lt;b&gt;&amp;&#39;c&#39;.mp4" in page
    assert 'href="a%3Cb%3E%26%27c%27.mp4"' in page
    assert re.search(r"6 frames · .* · dog-seed3 · \d", page)
    assert re.search(r'<li class="bad">[^<]*bad\.mp4', page)
    assert [pixels_of(uri).shape[1] for uri in re.findall(r'src="([^"]+)"', page)] == [320, 320]


def test_a_strangers_page_stays(make_clip, translate, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / PAGE).write_text("mine")
    lines = translate(make_clip("a.mp4", frames=2), make_clip("b.mp4", frames=2))
    assert (tmp_path / "out" / PAGE).read_text() == "mine"
    assert any("was not written by starcast and stays" in line for line in lines)


@pytest.mark.parametrize(
    ("settings", "number"),
    [
        ({}, 8),  # a third of 25 frames
        ({"start": "8f"}, 13),  # of the 17 from frame 8 on
        ({"start": "0.4", "end": "88%"}, 14),  # of the 12 from frame 10 to 21
        ({"fps": "5"}, 8),
        ({"start": "0.4", "fps": "50"}, 15),  # of the 15 from frame 10 on
    ],
)
def test_both_thumbnails_show_the_moment_at_a_third_of_what_is_translated(
    tiny_bundle, make_clip, tmp_path, settings, number
):
    greys = [np.full((32, 32, 3), 8 * number, np.uint8) for number in range(25)]
    source, target = make_clip("grey.mp4", frames=25, images=greys, height=32, width=32), tmp_path / "out.mp4"
    options = VideoOptions(domain="dog", seed=3, preset="ultrafast", opacity=0.0, keep_size=True, **settings)
    translate_video(tiny_bundle, source, target, options, progress=lambda line: None)
    shown = [np.median(pixels_of(uri)) / 8 for uri in thumbnails_of(source, target, options)]
    assert shown[0] == pytest.approx(number, abs=0.5)
    assert shown[1] == pytest.approx(
        number, abs=2.6 if settings.get("fps") == "5" else 0.5
    )  # the nearest of 5 a second


@pytest.mark.parametrize("name", ["out.webp", "out.gif", "out.png", "shot_%02d.png"])
def test_animations_and_numbered_images_have_thumbnails_too(tiny_bundle, make_clip, tmp_path, name):
    greys = [np.full((32, 32, 3), 20 * number, np.uint8) for number in range(9)]
    source = make_clip("grey.mp4", frames=9, images=greys, height=32, width=32)
    options = VideoOptions(domain="dog", seed=3, opacity=0.0, keep_size=True)
    translate_video(tiny_bundle, source, tmp_path / name, options, progress=lambda line: None)
    for _ in range(2):  # the output is a source of the second round
        shown = [np.median(pixels_of(uri)) / 20 for uri in thumbnails_of(source, tmp_path / name, options)]
        assert shown == pytest.approx([3, 3], abs=0.5)
        source = tmp_path / name


def test_what_is_no_video_has_no_thumbnail(make_clip, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    assert thumbnails_of(tmp_path / "text.mp4", tmp_path / "none.mp4", FAST) == ("", "")
    assert thumbnails_of(make_clip("a.mp4", frames=2), tmp_path / "text.mp4", FAST)[1] == ""
