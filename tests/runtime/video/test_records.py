"""The record beside a film: nobody else's file is replaced by it, and nothing is lost for its sake."""

from __future__ import annotations

import os

import numpy as np
import pytest

from starcast.errors import OptionError
from starcast.images.write import write_image
from starcast.runtime.options import MorphOptions, VideoOptions
from starcast.runtime.video.morph import morph
from starcast.runtime.video.translate import translate_video

QUIET = {"progress": lambda line: None}

FOREIGN = {
    "a photo service's": lambda path: path.write_text('{"geoData": 1}'),
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "a link": lambda path: path.symlink_to("elsewhere.json"),
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("verb", ["video", "morph"])
def test_a_record_that_is_not_ours_is_refused_before_the_work(
    make_clip, tiny_bundle, tmp_path, monkeypatch, verb, kind, overwrite
):
    if kind == "a pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with names here")
    record = tmp_path / "out.mp4.json"
    FOREIGN[kind](record)
    before = record.lstat()
    monkeypatch.setattr("starcast.runtime.translator.Translator.__init__", lambda *a, **k: pytest.fail("worked"))
    with pytest.raises(OptionError, match=r"out\.mp4\.json .*choose another -o"):
        film(verb, make_clip, tiny_bundle, tmp_path / "out.mp4", overwrite=overwrite)
    assert (record.lstat().st_mtime_ns, record.lstat().st_mode) == (before.st_mtime_ns, before.st_mode)
    assert not (tmp_path / "out.mp4").exists()


def film(verb, make_clip, bundle, target, **changes):
    """A film by either verb, the shortest there is."""
    if verb == "video":
        settings = VideoOptions(**{"domain": "dog", "seed": 3, "preset": "ultrafast", **changes})
        return translate_video(bundle, make_clip("in.mp4", frames=2), target, settings, **QUIET)
    image = target.parent / "in.png"
    write_image(image, np.full((32, 32, 3), 128, np.uint8))
    settings = MorphOptions(domain="dog", seeds=("1",), frames_per_step=3, preset="ultrafast", **changes)
    return morph(bundle, image, target, settings, **QUIET)


@pytest.mark.parametrize("verb", ["video", "morph"])
def test_a_name_that_leaves_no_room_for_the_records_is_refused_before_the_work(make_clip, tiny_bundle, tmp_path, verb):
    target = tmp_path / ("a" * 250 + ".mp4")  # 254 bytes of 255: a film could be written, its record could not
    with pytest.raises(OptionError, match=r"file name too long.*choose another -o"):
        film(verb, make_clip, tiny_bundle, target)
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith("in.")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("verb", ["video", "morph"])
def test_a_pipe_in_the_way_of_a_film_stays_even_with_overwrite(make_clip, tiny_bundle, tmp_path, verb):
    os.mkfifo(tmp_path / "out.mp4")
    with pytest.raises(OptionError, match=r"out\.mp4 is a pipe, a socket or a device"):
        film(verb, make_clip, tiny_bundle, tmp_path / "out.mp4", overwrite=True)
    assert (tmp_path / "out.mp4").is_fifo()
