"""Numbered images in place of a film: every frame, none of anybody else's overwritten."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from starcast.errors import OptionError
from starcast.runtime.encoding import EncodingOptions, image_at, images_of, is_sequence
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.output.codecs import complete
from starcast.runtime.video.output.outputs import open_sink
from starcast.runtime.video.output.sink import check_target
from starcast.runtime.video.translate import translate_video


@pytest.mark.parametrize(("name", "number", "image"), [
    ("shot_%05d.png", 7, "shot_00007.png"), ("%d.jpg", 12, "12.jpg"), ("a%03d.b.PNG", 1000, "a1000.b.PNG"),
])  # fmt: skip
def test_a_pattern_stands_for_its_images(tmp_path, name, number, image):
    assert is_sequence(Path(name))
    assert image_at(Path(name), number) == Path(image)
    (tmp_path / image).touch()
    (tmp_path / f"x{image}").touch()
    assert images_of(tmp_path / name) == [tmp_path / image]


@pytest.mark.parametrize("name", ["shot_00001.png", "%s.png", "%05d.mp4", "100%.png", "%05d.gif"])
def test_other_names_are_no_sequence(name):
    assert not is_sequence(Path(name))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_each_frame_is_an_image(tmp_path, suffix):
    target = tmp_path / "new" / f"f%03d.{suffix}"
    with open_sink(target, "f", (31, 45), Fraction(25), Fraction(1, 25), EncodingOptions()) as sink:
        for number in range(3):
            sink.write(RgbFrame(np.full((31, 45, 3), (80 * number, 60, 30), np.uint8), 2 * number, 2))
    assert sorted(path.name for path in target.parent.iterdir()) == [f"f00{number}.{suffix}" for number in (1, 2, 3)]
    for number in range(3):
        with Image.open(image_at(target, number + 1)) as image:
            assert image.size == (45, 31)
            assert np.abs(np.asarray(image).astype(int) - (80 * number, 60, 30)).max() <= (0 if suffix == "png" else 2)


def test_a_finished_sequence_is_left_alone_and_no_image_of_others_is_overwritten(tiny_bundle, make_clip, tmp_path):
    clip, out = make_clip("a.mp4", frames=3), tmp_path / "out" / "%04d.png"
    options = VideoOptions(domain="dog", seed=3, backend="onnxruntime")
    out.parent.mkdir()
    image_at(out, 3).write_bytes(b"mine")
    with pytest.raises(OptionError, match=r"0003\.png already exists"):
        translate_video(tiny_bundle, clip, out, options, progress=lambda line: None)
    assert [path.name for path in out.parent.iterdir()] == ["0003.png"]
    image_at(out, 3).unlink()
    assert translate_video(tiny_bundle, clip, out, options, progress=lambda line: None).frames == 3
    assert translate_video(tiny_bundle, clip, out, options, progress=lambda line: None).is_there_already
    image_at(out, 1).unlink()  # as after a kill between two renames
    assert translate_video(tiny_bundle, clip, out, options, progress=lambda line: None).frames == 3
    with pytest.raises(OptionError, match="exists"):
        translate_video(tiny_bundle, clip, out, VideoOptions(domain="cat"), progress=lambda line: None)
    names = {path.name for path in out.parent.iterdir()}
    assert names == {"0001.png", "0002.png", "0003.png", "%04d.png.json"}


def test_uneven_times_which_images_do_not_have_are_said(tmp_path):
    for name, times, notes in (("even", [0, 33, 67, 100], 0), ("uneven", [0, 40, 200, 240], 1)):
        with open_sink(
            tmp_path / f"{name}%d.png", name, (16, 16), Fraction(25), Fraction(1, 1000), EncodingOptions()
        ) as sink:
            for pts in times:
                sink.write(RgbFrame(np.zeros((16, 16, 3), np.uint8), pts, 33))
        assert len(sink.notes) == notes
    assert sink.notes == ["uneven loses the times of its frames, which are 40 to 160 ms apart"]


def test_options_of_films_are_refused_for_images():
    with pytest.raises(OptionError, match="leave out --codec"):
        complete(EncodingOptions(codec="h264"), Path("a%03d.png"))
    with pytest.raises(OptionError, match="leave out --crf"):
        complete(EncodingOptions(crf=3), Path("a%03d.jpg"))


def test_a_name_with_two_numbers_is_refused(tmp_path):
    with pytest.raises(OptionError, match="two places for a number"):
        check_target(tmp_path / "shot_%d_%05d.png", None)
