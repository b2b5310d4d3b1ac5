"""Animated GIF, WebP and PNG: every frame at its time, in its colours, for as long as it is shown, over and over."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from starcast.errors import OptionError
from starcast.runtime.encoding import EncodingOptions
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.output.animation_mark import count_images, read_animation_mark
from starcast.runtime.video.output.codecs import complete
from starcast.runtime.video.output.outputs import open_sink

SUFFIXES = (".gif", ".webp", ".png", ".apng")
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 60, 30], [40, 90, 160], [255, 255, 255]], np.uint8)
TICK = Fraction(1, 90000)


def drawn(number: int) -> np.ndarray:
    """Bars of 8 columns, which move by one bar a frame."""
    return np.tile(np.roll(COLOURS, number, 0).repeat(8, 0), (32, 1, 1))


def write(
    target: Path, times: list[int], last: int = 3600, *, mark: str | None = None, crf: int | None = None
) -> list[str]:
    size = drawn(0).shape[:2]
    with open_sink(target, target.name, size, Fraction(25), TICK, EncodingOptions(crf=crf), mark=mark) as sink:
        for number, (pts, after) in enumerate(zip(times, [*times[1:], times[-1] + last], strict=True)):
            sink.write(RgbFrame(drawn(number), pts, after - pts))
    return sink.notes


def read(path: Path) -> tuple[list[np.ndarray], list[float], object]:
    """The images as RGBA, their durations in milliseconds, and how often the animation is shown (0: for ever)."""
    images, lasts = [], []
    with Image.open(path) as film:
        for number in range(film.n_frames):
            film.seek(number)
            images.append(np.asarray(film.convert("RGBA")))
            lasts.append(film.info["duration"])
        return images, lasts, film.info.get("loop")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frames_are_shown_in_order_for_their_time_and_for_ever(tmp_path, suffix):
    """Uneven, in 1/100 s: 10, 40, 5, 20, 30."""
    times = [9000, 18000, 54000, 58500, 76500]
    assert write(tmp_path / f"a{suffix}", times, 27000, crf=0 if suffix == ".webp" else None) == []
    images, lasts, loop = read(tmp_path / f"a{suffix}")
    assert [round(last) for last in lasts] == [100, 400, 50, 200, 300]
    assert loop == 0
    for number, image in enumerate(images):
        np.testing.assert_array_equal(image[..., :3], drawn(number))
        assert (image[..., 3] == 255).all()


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_rounded_times_do_not_add_up(tmp_path, suffix):
    """29.97 frames per second for 10 s: 3003 ticks each."""
    write(tmp_path / f"a{suffix}", [3003 * number for number in range(300)], 3003)
    _, lasts, _ = read(tmp_path / f"a{suffix}")
    tick = 10 if suffix == ".gif" else 1
    ends = np.cumsum(lasts)
    assert len(ends) == 300
    # the film in between has milliseconds
    assert np.abs(ends - 1001 / 30 * np.arange(1, 301)).max() <= tick / 2 + 1.01


def test_frames_that_are_too_short_for_a_gif_are_named(tmp_path):
    notes = write(tmp_path / "a.gif", [900 * number for number in range(6)], 900)  # 100 frames per second
    (note,) = notes
    assert "a.gif has 5 frames of 1/100 s, which most players show for 10/100 s: a GIF runs at 50 frames" in note
    assert count_images(tmp_path / "a.gif") == 6
    notes = write(tmp_path / "b.gif", [450 * number for number in range(8)], 450)
    assert any("b.gif lacks" in note and "cannot show them that briefly" in note for note in notes)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("frames", [1, 3])
def test_an_animation_carries_the_mark_of_how_it_was_made(tmp_path, suffix, frames):
    write(tmp_path / f"a{suffix}", [3600 * number for number in range(frames)], mark="starcast settings=12ab")
    assert read_animation_mark(tmp_path / f"a{suffix}") == "starcast settings=12ab"
    assert count_images(tmp_path / f"a{suffix}") == frames
    if suffix != ".webp":  # FFmpeg reads no animated WebP
        with av.open(str(tmp_path / f"a{suffix}")) as film:
            assert sum(1 for _ in film.decode(video=0)) == frames
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_the_crf_of_webp_is_its_quality(tmp_path):
    sizes = []
    for crf in (0, 6, 40):
        write(tmp_path / f"{crf}.webp", [0, 3600], crf=crf)
        sizes.append(read(tmp_path / f"{crf}.webp")[0][0])
    np.testing.assert_array_equal(sizes[0][..., :3], drawn(0))
    errors = [np.abs(image[..., :3].astype(int) - drawn(0)).mean() for image in sizes]
    assert errors[0] == 0 < errors[1] < errors[2]


@pytest.mark.parametrize(("name", "options", "sentence"), [
    ("a.gif", {"crf": 4}, r"\.gif has one coding of its own: leave out --crf, or end -o in \.mp4"),
    ("a.png", {"codec": "h264"}, r"\.png has one coding of its own: leave out --codec"),
    ("a.webp", {"bitrate": "1M"}, r"\.webp has one coding of its own: leave out --bitrate"),
    ("a.webp", {"preset": "slow"}, "leave out --preset"), ("a.gif", {"pixel_format": "yuv420p"}, "leave out --pixel"),
])  # fmt: skip
def test_options_of_films_are_refused_for_animations(name, options, sentence):
    with pytest.raises(OptionError, match=sentence):
        complete(EncodingOptions(**options), Path(name))
