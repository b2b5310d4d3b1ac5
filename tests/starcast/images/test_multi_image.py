from __future__ import annotations

import contextlib
import io

import numpy as np
import odd_images
import pytest
from PIL import Image, TiffImagePlugin, features

from starcast.errors import ImageError
from starcast.images.read import read_stored

FIRST = Image.fromarray(odd_images.scene())
FRAMES = ("is animated, and only the first of its 4 frames is used (`starcast video` takes all)",)


def others(count: int = 3) -> list[Image.Image]:
    return [Image.new("RGB", FIRST.size, colour) for colour in ("red", "lime", "blue")[:count]]


@pytest.mark.parametrize(("suffix", "settings", "notes"), [
    ("gif", {}, FRAMES), ("webp", {"lossless": True}, FRAMES), ("png", {}, FRAMES), ("avif", {}, FRAMES),
    ("tif", {}, ("has 4 pages, and only the first is used",)),
    ("tif", {"compression": "tiff_lzw"}, ("has 4 pages, and only the first is used",)),
])  # fmt: skip
def test_a_file_of_several_images_says_so_and_a_file_of_one_says_nothing(tmp_path, suffix, settings, notes):
    if suffix == "avif" and not features.check(suffix):
        pytest.skip("this Pillow reads no AVIF")
    FIRST.save(tmp_path / f"one.{suffix}", **settings)
    assert read_stored(tmp_path / f"one.{suffix}").notes == ()
    FIRST.save(tmp_path / f"four.{suffix}", save_all=True, append_images=others(), **settings)
    stored = read_stored(tmp_path / f"four.{suffix}")
    assert stored.notes == notes
    assert odd_images.largest_difference(stored.pixels, odd_images.scene()) <= 8


def test_the_name_of_a_file_does_not_matter(tmp_path):
    FIRST.save(tmp_path / "x.png", format="GIF", save_all=True, append_images=others())
    (tmp_path / "x.png").rename(tmp_path / "x.jpg")
    assert read_stored(tmp_path / "x.jpg").notes == FRAMES


def test_the_smaller_copies_in_a_tiff_are_no_pages(tmp_path):
    content = io.BytesIO()
    file = TiffImagePlugin.AppendingTiffWriter(content, True)  # not to a file: Pillow's finalizer writes to it again
    for number, image in enumerate((FIRST, FIRST.resize((32, 24)), FIRST.resize((16, 12)))):
        image.save(file, format="TIFF", tiffinfo={254: int(number > 0)})
        file.newFrame()
    (tmp_path / "pyramid.tif").write_bytes(content.getvalue())
    assert read_stored(tmp_path / "pyramid.tif").notes == ()


def test_a_photographs_gain_map_is_no_second_image(tmp_path):
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"/>'
    gain_map = io.BytesIO()
    others(1)[0].save(gain_map, "JPEG")
    FIRST.save(tmp_path / "x.jpg", format="MPO", save_all=True, append_images=[Image.open(gain_map)])
    content = (tmp_path / "x.jpg").read_bytes()
    second = content.index(b"\xff\xd8\xff", 10)
    marked = content[: second + 2] + b"\xff\xe1" + (len(xmp) + 2).to_bytes(2, "big") + xmp + content[second + 2 :]
    (tmp_path / "x.jpg").write_bytes(marked)
    assert read_stored(tmp_path / "x.jpg").notes == ()
    (tmp_path / "x.jpg").write_bytes(content)
    assert read_stored(tmp_path / "x.jpg").notes == ("holds 2 images, and only the main one is used",)
    (tmp_path / "x.jpg").write_bytes(content[:second])  # as programs leave it that know nothing of the second
    assert read_stored(tmp_path / "x.jpg").notes == ()


def test_damage_behind_the_first_image_costs_neither_it_nor_a_traceback(tmp_path):
    for suffix in ("gif", "png", "tif", "mpo"):
        path = tmp_path / f"x.{suffix}"
        FIRST.copy().save(path, save_all=True, append_images=others())
        whole = read_stored(path).pixels
        content = path.read_bytes()
        for kept in range(len(content) - 40, len(content) // 2, -97):
            path.write_bytes(content[:kept])
            with contextlib.suppress(ImageError):
                np.testing.assert_array_equal(read_stored(path).pixels, whole)
