"""The page about many videos: what it shows, that names cannot break out of it, and whose page it replaces."""

from __future__ import annotations

import base64
import re

import cv2
import numpy as np
import pytest

from starcast.runtime.video.many.summary import PAGE, thumbnail_of
from starcast.runtime.video.many.translate_many import translate_videos
from starcast.runtime.video.options import VideoOptions

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


def test_the_thumbnail_is_the_frame_at_a_third(make_clip):
    levels = [np.full((48, 64, 3), 20 * number, np.uint8) for number in range(9)]
    shown = pixels_of(thumbnail_of(make_clip("grey.mp4", frames=9, images=levels)))
    assert abs(int(np.median(shown)) - 60) <= 20


def test_what_is_no_video_has_no_thumbnail(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    assert thumbnail_of(tmp_path / "text.mp4") == ""
    assert thumbnail_of(tmp_path / "none.mp4") == ""
