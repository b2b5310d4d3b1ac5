from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from starcast.errors import OptionError, VideoError
from starcast.images.write import write_image
from starcast.runtime.video.input.opening import open_video
from starcast.runtime.video.options import MAX_FRAME_PIXELS


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.mp4", b"", "is empty"),
        ("text.mp4", b"this is not a video\n" * 50, "is a text file"),
        ("page.mp4", b"<!DOCTYPE html><html></html>", "is a web page"),
        ("zip.mp4", b"PK\x03\x04" + bytes(500), "is a ZIP archive"),
        ("noise.mp4", bytes(random.Random(0).randrange(256) for _ in range(5000)), "is not a video"),
        ("zeros.mp4", bytes(5000), "is not a video"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:1/x.ts\n#EXT-X-ENDLIST\n", "text file"),
        ("list.ffconcat", b"ffconcat version 1.0\nfile 'secret.mp4'\n", "text file"),
        ("head.mp4", b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41", "is not a video|has no video"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)  # fmt: skip
def test_what_is_not_a_video_is_said_in_one_sentence(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(VideoError, match=words) as caught:
        open_video(path, MAX_FRAME_PIXELS)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_still_image_is_sent_to_translate(tmp_path):
    for name in ("still.jpg", "still.png", "still.webp", "still.mp4"):
        write_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
        path = tmp_path / name
        if name.endswith(".mp4"):
            path.write_bytes((tmp_path / "a.png").read_bytes())
        else:
            write_image(path, np.zeros((8, 8, 3), np.uint8))
        with pytest.raises(VideoError, match=r"still image.*starcast translate"):
            open_video(path, MAX_FRAME_PIXELS)


def test_what_is_not_a_file_is_wrong_use(tmp_path):
    with pytest.raises(OptionError, match="does not exist"):
        open_video(tmp_path / "none.mp4", MAX_FRAME_PIXELS)
    with pytest.raises(OptionError, match="is a folder"):
        open_video(tmp_path, MAX_FRAME_PIXELS)


def test_a_name_that_looks_like_a_url_is_a_file(make_clip, tmp_path, monkeypatch):
    make_clip("a.mp4").rename(tmp_path / "http:clip.mp4")
    monkeypatch.chdir(tmp_path)
    with open_video(Path("http:clip.mp4"), MAX_FRAME_PIXELS) as container:
        assert len(list(container.decode(video=0))) == 12
