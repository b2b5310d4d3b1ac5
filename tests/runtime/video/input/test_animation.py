from __future__ import annotations

from fractions import Fraction

import numpy as np
import odd_images
import pytest
from PIL import Image, features

from starcast.errors import ImageError, VideoError
from starcast.runtime.video import colour
from starcast.runtime.video.input.animation import Animation, is_animation
from starcast.runtime.video.input.film import Frame
from starcast.runtime.video.input.source import open_film

COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200), (220, 220, 40))
MILLISECONDS = (100, 40, 250, 70)
SUFFIXES = ("png", "webp", "avif", "gif")
EXACT = {"avif": {"quality": 100, "subsampling": "4:4:4"}, "webp": {"lossless": True}}


def make(path, frames, durations=MILLISECONDS, **settings):
    if path.suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    settings = EXACT.get(path.suffix[1:], {}) | settings
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=list(durations), **settings)
    return path


def flat(mode="RGB", size=(64, 48)):
    return [Image.new(mode, size, (*value, 255)[: len(mode)]) for value in COLOURS]


def read(path):
    with open_film(path) as film:
        frames = [item for item in film.read() if isinstance(item, Frame)]
        times = [(frame.pts * film.time_base, frame.duration * film.time_base) for frame in frames]
        return film, [colour.to_rgb(frame.frame) for frame in frames], times


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_frame_is_read_once_at_its_own_time(tmp_path, suffix):
    film, frames, times = read(make(tmp_path / f"x.{suffix}", flat(), loop=3))
    assert [frame[20, 30].tolist() for frame in frames] == [pytest.approx(value, abs=2) for value in COLOURS]
    begins = [Fraction(sum(MILLISECONDS[:number]), 1000) for number in range(4)]
    assert times == [(begin, Fraction(lasts, 1000)) for begin, lasts in zip(begins, MILLISECONDS, strict=True)]
    assert (film.frames, film.ends_early, film.damaged, film.shown_size) == (4, False, 0, (48, 64))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_transparency_is_white_in_every_frame(tmp_path, suffix):
    frames = flat("RGBA")
    for frame in frames:
        frame.paste((0, 0, 0, 0), (32, 0, 64, 48))
    disposal = {"disposal": 2} if suffix == "gif" else {}
    _, decoded, _ = read(make(tmp_path / f"x.{suffix}", frames, **disposal))
    for frame, value in zip(decoded, COLOURS, strict=True):
        assert frame[20, 10].tolist() == pytest.approx(value, abs=2)
        assert frame[20, 50].tolist() == [255, 255, 255]


def test_fractions_of_a_second_are_exact_however_many_frames_there_are(tmp_path):
    path = make(tmp_path / "x.png", [Image.new("L", (4, 4), number) for number in range(90)], [1000 / 30] * 90)
    content = path.read_bytes()
    for start in [at for at in range(len(content)) if content[at : at + 4] == b"fcTL"]:
        chunk = bytearray(content[start : start + 30])
        chunk[24:28] = (1001).to_bytes(2, "big") + (30000).to_bytes(2, "big")  # 30000/1001 frames a second
        whole = odd_images.png_chunk(b"fcTL", bytes(chunk[4:]))
        content = content[: start - 4] + whole + content[start - 4 + len(whole) :]
    path.write_bytes(content)
    film, _, times = read(path)
    assert film.rate == Fraction(30000, 1001)
    assert [begin for begin, _ in times] == [Fraction(1001 * number, 30000) for number in range(90)]


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_a_frame_without_a_duration_is_shown_as_long_as_in_browsers(tmp_path, suffix):
    _, _, times = read(make(tmp_path / f"x.{suffix}", flat(), [0, 50, 0, 50]))
    assert times[:3] == [(Fraction(at, 100), Fraction(lasts, 100)) for at, lasts in ((0, 10), (10, 5), (15, 10))]


def test_the_still_image_that_stands_in_for_an_animated_png_is_no_frame(tmp_path):
    path = make(tmp_path / "x.png", [Image.new("RGB", (64, 48), "gray"), *flat()], default_image=True)
    _, frames, times = read(path)
    assert [frame[20, 30].tolist() for frame in frames] == [list(value) for value in COLOURS]
    assert times[1][0] == Fraction(1, 10)


def test_an_animation_is_turned_upright_and_its_profile_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    swapped = [frame.convert("RGB") for frame in flat()]
    film, frames, _ = read(make(tmp_path / "x.webp", swapped, exif=exif, icc_profile=odd_images.swapped_profile()))
    assert film.shown_size == (64, 48)
    assert frames[0][20, 30].tolist() == pytest.approx(COLOURS[2], abs=3)


@pytest.mark.parametrize("suffix", ["png", "webp", "avif"])
def test_a_still_image_is_called_one_and_an_animation_never_is(tmp_path, suffix):
    flat()[0].save(tmp_path / f"x.{suffix}")
    assert not is_animation(tmp_path / f"x.{suffix}")
    with pytest.raises(VideoError, match="is a still image: give it to `starcast translate`"):
        open_film(tmp_path / f"x.{suffix}")
    make(tmp_path / f"y.{suffix}", flat()).rename(tmp_path / "y.mp4")
    assert is_animation(tmp_path / "y.mp4")


def test_a_cut_animation_gives_the_frames_that_are_there_and_says_so(tmp_path):
    noise = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (48, 64, 3), dtype=np.uint8)) for n in range(4)]
    path = make(tmp_path / "x.png", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 5 // 8])
    film, frames, _ = read(path)
    assert film.ends_early
    assert len(frames) == 2
    for frame, expected in zip(frames, noise, strict=False):
        np.testing.assert_array_equal(frame, expected)


def test_an_animation_beyond_the_limit_of_pixels_is_refused(tmp_path):
    with pytest.raises(ImageError, match="64 x 48 pixels, more than the limit of 3000: .*--max-pixels"):
        Animation(make(tmp_path / "x.png", flat()), max_pixels=3000)
