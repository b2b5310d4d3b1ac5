from __future__ import annotations

import io

import numpy as np
import odd_images
import pytest
from PIL import Image

from starcast.errors import ImageError
from starcast.images import truncated_jpeg
from starcast.images.read import read_image

KINDS = {
    "baseline": {}, "progressive": {"progressive": True}, "restarts": {"restart_marker_rows": 1},
    "progressive restarts": {"progressive": True, "restart_marker_blocks": 2},
}  # fmt: skip
NOISE = np.random.default_rng(0).integers(0, 256, (50, 66, 3), dtype=np.uint8)


def decoded(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image)


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_a_jpeg_without_its_last_bytes_is_read_if_every_row_is_there(tmp_path, settings):
    whole = odd_images.encoded(Image.fromarray(NOISE), "JPEG", quality=90, **settings)
    expected = decoded(whole)
    path = tmp_path / "photo.jpg"
    for lost in (1, 2):  # the end marker, FF D9
        path.write_bytes(whole[:-lost])
        np.testing.assert_array_equal(read_image(path), expected)
    path.write_bytes(whole[:-2] + bytes(3000))  # a download that was cut short, in a file of full size
    np.testing.assert_array_equal(read_image(path), expected)
    for lost in (5, 40, 400, len(whole) // 2):
        path.write_bytes(whole[:-lost])
        with pytest.raises(ImageError, match="damaged or cut short"):
            read_image(path)


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_whatever_is_taken_for_whole_has_the_pixels_of_the_whole_file(mode, settings):
    smooth = np.linspace(0, 255, 40 * 56 * 3).reshape(40, 56, 3).astype(np.uint8)
    whole = odd_images.encoded(Image.fromarray(smooth).convert(mode), "JPEG", **settings)
    for lost in range(len(whole) - 620):
        completed = truncated_jpeg.complete(whole[: len(whole) - lost])
        if completed is not None:
            np.testing.assert_array_equal(decoded(completed), decoded(whole))


@pytest.mark.parametrize("end", [b"\xff\xd9", bytes(5000), bytes(5000) + b"\xff\xd9"], ids=["marker", "zeros", "both"])
def test_rows_that_a_decoder_would_fill_with_grey_are_damage(tmp_path, end):
    whole = odd_images.encoded(Image.fromarray(NOISE), "JPEG", quality=90)
    path = tmp_path / "photo.jpg"
    path.write_bytes(whole[: len(whole) // 2] + end)
    assert decoded(path.read_bytes()).shape == NOISE.shape  # libjpeg itself fills them in
    with pytest.raises(ImageError, match="damaged or cut short"):
        read_image(path)


def test_an_image_that_ends_in_one_colour_is_whole(tmp_path):
    image = NOISE.copy()
    image[20:] = 255
    for name, settings in KINDS.items():
        content = odd_images.encoded(Image.fromarray(image), "JPEG", quality=90, **settings)
        path = tmp_path / f"{name}.jpg"
        path.write_bytes(content + bytes(300))
        np.testing.assert_array_equal(read_image(path), decoded(content))


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (7, 300), (300, 7)])
def test_small_images_of_one_colour_are_whole(tmp_path, size):
    Image.new("RGB", size, "teal").save(tmp_path / "x.jpg")
    assert read_image(tmp_path / "x.jpg").shape == (*size[::-1], 3)


def test_a_jpeg_without_its_end_is_decoded_smaller_where_that_suffices(tmp_path):
    content = odd_images.encoded(Image.new("RGB", (640, 480), "green"), "JPEG")
    (tmp_path / "x.jpg").write_bytes(content[:-2])
    assert read_image(tmp_path / "x.jpg", at_least=(64, 64)).shape == (120, 160, 3)
