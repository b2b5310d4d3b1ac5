"""Image n of a sequence is the grey level 10 n, as a PNG."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from starcast.errors import ImageError, OptionError
from starcast.runtime.folder.sources import find_sources
from starcast.runtime.video.input import sequence_files
from starcast.runtime.video.input.failures import failures_of
from starcast.runtime.video.input.film import Film, Frame
from starcast.runtime.video.input.find_films import VIDEOS
from starcast.runtime.video.input.input_options import InputOptions, parse_rate
from starcast.runtime.video.input.sequence_files import files_of, find_files, is_sequence, name_of
from starcast.runtime.video.input.source import open_film
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.translate import translate_video


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., Path]:
    """draw("shot_{}.png", 1, 2): the folder of the images."""
    folder = tmp_path / "frames"
    folder.mkdir()

    def make(name: str, *numbers: int | str, size: tuple[int, int] = (16, 12)) -> Path:
        for number in numbers:
            Image.new("L", size, 10 * int(number)).save(folder / name.format(number))
        return folder

    return make


def levels(film: Film) -> list[int]:
    return [int(item.frame.to_ndarray()[5, 5, 0]) for item in film.read() if isinstance(item, Frame)]


def test_a_folder_is_read_in_natural_order_at_25_frames_per_second(draw):
    with open_film(draw("shot {}.png", 1, 2, 10, 9, 3)) as film:
        assert (film.frames, film.rate, film.time_base) == (5, 25, Fraction(1, 25))
        assert film.shown_size == (12, 16)
        assert levels(film) == [10, 20, 30, 90, 100]
        assert "shown at 25 frames per second" in film.changes[0]
        assert "lacks 5 of its numbers (4-8)" in film.changes[1]
        assert failures_of(film, 0) == []


@pytest.mark.parametrize(("pattern", "names", "expected"), [
    ("a_%03d.png", ["001", "002", "1000", "5", "05"], ["a_001.png", "a_002.png", "a_1000.png"]),
    ("a_%d.png", ["1", "12", "01"], ["a_1.png", "a_12.png"]),
    ("a_%02d.png", ["10", "09"], ["a_09.png", "a_10.png"]),
])  # fmt: skip
def test_a_pattern_matches_what_printf_writes(draw, pattern, names, expected):
    folder = draw("")
    for name in names:
        (folder / f"a_{name}.png").touch()
    assert find_files(folder / pattern).names == expected


def test_frames_are_one_tick_of_the_rate_apart(draw):
    with open_film(draw("{}.png", 1, 2, 3) / "%d.png", reading=InputOptions(fps="29.97")) as film:
        assert film.time_base == Fraction(1001, 30000)
        assert [(item.pts, item.duration) for item in film.read() if isinstance(item, Frame)] == [
            (0, 1),
            (1, 1),
            (2, 1),
        ]
        assert not film.changes


@pytest.mark.parametrize(("text", "rate"), [
    ("24", 24), ("23.976", Fraction(24000, 1001)), ("23.98", Fraction(24000, 1001)), ("29.97", Fraction(30000, 1001)),
    ("59.94", Fraction(60000, 1001)), ("30000/1001", Fraction(30000, 1001)), ("12.5", Fraction(25, 2)),
    ("1/2", Fraction(1, 2)),
])  # fmt: skip
def test_rates_are_exact(text, rate):
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "-1", "1/0", "nan", "1e3", "1001", "24/1.5", "٢٤"])
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(OptionError, match="--fps takes frames per second"):
        InputOptions(fps=text)


def test_images_may_differ_in_size_and_format(draw):
    folder = draw("{}.png", 1)
    Image.new("RGB", (30, 20), (20, 20, 20)).save(folder / "2.jpg", quality=95)
    Image.new("RGBA", (16, 12), (30, 30, 30, 0)).save(folder / "3.webp", lossless=True)
    with open_film(folder, reading=InputOptions(keep_alpha=True)) as film:
        frames = [item for item in film.read() if isinstance(item, Frame)]
    assert [(frame.frame.height, frame.frame.width) for frame in frames] == [(12, 16), (20, 30), (12, 16)]
    assert (frames[2].alpha == 0).all()


def test_a_damaged_image_is_reported_and_the_one_before_is_shown_in_its_place(draw):
    folder = draw("{:03}.png", *range(9))
    for number in (0, 3, 4):
        (folder / f"{number:03}.png").write_bytes(b"\x89PNG\r\n\x1a\n no")
    with open_film(folder) as film:
        assert levels(film) == [10, 10, 20, 20, 20, 50, 60, 70, 80]
        failures = failures_of(film, 0)
    assert len(failures) == 3
    assert all("the image before it is shown" in failure for failure in failures)


def test_a_sequence_without_a_readable_image_is_refused(draw):
    folder = draw("{}.png")
    (folder / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n no")
    with pytest.raises(ImageError, match=r"1\.png"):
        open_film(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_among_the_images_is_not_opened(draw):
    folder = draw("{}.png", 1, 3)
    os.mkfifo(folder / "2.png")
    os.mkfifo(folder / "notes")
    with open_film(folder) as film:
        assert levels(film) == [10, 30]
        assert any("2.png" in change for change in film.changes)
    assert find_files(folder / "%d.png").names == ["1.png", "3.png"]


def test_what_is_a_sequence(draw, tmp_path, make_clip):
    folder = draw("{}.png", 1)
    assert is_sequence(folder)
    assert is_sequence(folder / "%05d.png")
    assert not is_sequence(tmp_path / "100%.mp4")
    assert not is_sequence(tmp_path)  # only a folder
    (folder / "shot_%d.png").touch()
    assert not is_sequence(folder / "shot_%d.png")  # a file has that name
    make_clip("clip.mp4", frames=2).rename(folder / "clip.mp4")
    assert not is_sequence(folder)  # a folder of clips


def test_a_folder_of_animations_is_not_a_sequence(tmp_path):
    frames = [Image.new("L", (8, 8), level) for level in (0, 200)]
    frames[0].save(tmp_path / "1.gif", save_all=True, append_images=frames[1:])
    assert not is_sequence(tmp_path)


@pytest.mark.parametrize("pattern", ["%d_%d.png", "shot_%05d.png"])
def test_a_pattern_that_names_nothing_is_refused(tmp_path, pattern):
    with pytest.raises(OptionError):
        open_film(tmp_path / pattern)


def test_a_sequence_is_one_source_with_a_name(draw):
    folder = draw("{}.png", 1, 2)
    found = find_sources([folder, folder / "a_%d.png"], kind=VIDEOS)
    assert [(source.path, str(source.relative)) for source in found.sources] == [
        (folder, "frames.png"), (folder / "a_%d.png", "a.png"),
    ]  # fmt: skip
    assert name_of(folder / "%05d.png") == "frames"
    assert files_of(folder) == [folder / "1.png", folder / "2.png"]


def test_many_names_are_ordered_as_numbers_and_few_gaps_are_named():
    names = [f"{number}.png" for number in range(20_000)]
    assert sorted(sorted(names), key=sequence_files._natural) == names
    (remark,) = sequence_files._gaps(list(range(0, 20_000, 2)))
    assert remark.startswith("lacks 9999 of its numbers (1, 3, 5, 7, 9 and 9994 more gaps)")


def test_pixels_are_those_of_the_image(draw):
    folder = draw("{}.png")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "1.png")
    with open_film(folder) as film:
        (frame,) = [item.frame for item in film.read() if isinstance(item, Frame)]
    np.testing.assert_array_equal(frame.to_ndarray(), pixels)


def test_a_translated_sequence_is_known_again_until_an_image_changes(draw, tiny_bundle, tmp_path):
    folder, target = draw("{}.png", 1, 2, 3), tmp_path / "out.mp4"
    options = VideoOptions(domain="dog", seed=3, preset="ultrafast", fps="10")
    for number in range(2):
        report = translate_video(tiny_bundle, folder, target, options, progress=lambda _: None)
        assert report.is_there_already == (number == 1)
    with open_film(target) as film:
        assert [item.pts * film.time_base for item in film.read() if isinstance(item, Frame)] == [
            0, Fraction(1, 10), Fraction(2, 10)
        ]  # fmt: skip
    Image.new("L", (16, 12), 77).save(folder / "2.png")
    lines: list[str] = []
    assert not translate_video(tiny_bundle, folder, target, options, progress=lines.append).is_there_already
    assert any("was edited since" in line for line in lines)
