from __future__ import annotations

import hashlib

import numpy as np
import odd_images
import pytest
from PIL import Image, ImageCms

from starcast.images.colour import scale_to_bytes, to_srgb
from starcast.images.read import read_image


@pytest.mark.parametrize(("values", "full", "expected"), [
    (np.array([0, 257, 32768, 65535], np.uint16), 65535, [0, 1, 128, 255]),
    (np.array([0.0, 0.5, 1.0, np.nan, np.inf, -np.inf], np.float32), None, [0, 128, 255, 0, 255, 0]),
    (np.array([0.0, 2.0, 255.0], np.float32), None, [0, 2, 255]),
    (np.array([0.0, 65535.0], np.float32), None, [0, 255]),
    (np.array([0, 1], np.int32), None, [0, 1]),
    (np.array([0, 1000, 65535], np.int32), None, [0, 4, 255]),
    (np.array([-5, 2**31 - 1], np.int32), None, [0, 127]),
    (np.array([], np.float32), None, []),
], ids=["16 bits", "0 to 1", "0 to 255", "0 to 65535", "whole bytes", "whole 16 bits", "32 bits", "none"])  # fmt: skip
def test_other_number_types_are_scaled_to_bytes(values, full, expected):
    np.testing.assert_array_equal(scale_to_bytes(values, full), expected)


def ramp(channels: int, dtype=np.uint8) -> np.ndarray:
    """7 x 5 values that differ everywhere, over the whole range of the type."""
    values = np.linspace(0, np.iinfo(dtype).max, 7 * 5 * channels).round().astype(dtype)
    return values.reshape(7, 5, channels)[..., 0] if channels == 1 else values.reshape(7, 5, channels)


def turned(orientation: int) -> dict:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"exif": exif}


def profile(name: str) -> dict:
    return {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()}


# name -> what is saved, how, and the SHA-256 of the pixels that training has always read: resuming is bit-exact
KNOWN = {
    "rgb.png": (Image.fromarray(ramp(3)), {}, "c3c5c89df86252b5"),
    "grey.png": (Image.fromarray(ramp(1)), {}, "31b4462858431302"),
    "deep.png": (Image.fromarray(ramp(1, np.uint16)), {}, "31b4462858431302"),
    "alpha.png": (Image.fromarray(ramp(4)), {}, "f4effc24b5037575"),
    "grey-alpha.png": (Image.fromarray(ramp(4)).convert("LA"), {}, "500e14c02b4eb4e5"),
    "palette.png": (Image.fromarray(ramp(3)).quantize(8), {}, "a33b94b3c9bcfc35"),
    "palette-clear.png": (Image.fromarray(ramp(3)).quantize(8), {"transparency": 3}, "e16a050e2ea470e4"),
    "bilevel.png": (Image.fromarray(ramp(1)).convert("1"), {}, "d87fa9b7e365b279"),
    "float.tif": (Image.fromarray(ramp(1).astype(np.float32) / 255), {}, "31b4462858431302"),
    "cmyk.tif": (Image.fromarray(ramp(3)).convert("CMYK"), {}, "c3c5c89df86252b5"),
    "deep.tif": (Image.fromarray(ramp(1, np.uint16)), {}, "31b4462858431302"),
    "srgb.png": (Image.fromarray(ramp(3)), profile("sRGB"), "c3c5c89df86252b5"),
    "broken-profile.png": (Image.fromarray(ramp(3)), {"icc_profile": b"nonsense"}, "c3c5c89df86252b5"),
    "turned-1.png": (Image.fromarray(ramp(3)), turned(1), "c3c5c89df86252b5"),
    "turned-2.png": (Image.fromarray(ramp(3)), turned(2), "c327b5c7a5fed7a9"),
    "turned-3.png": (Image.fromarray(ramp(3)), turned(3), "9279cd1655852ffc"),
    "turned-4.png": (Image.fromarray(ramp(3)), turned(4), "dcadc9b851b042da"),
    "turned-5.png": (Image.fromarray(ramp(3)), turned(5), "e9911bc5b935f889"),
    "turned-6.png": (Image.fromarray(ramp(3)), turned(6), "242076819520a374"),
    "turned-7.png": (Image.fromarray(ramp(3)), turned(7), "deb6ab85e35a567a"),
    "turned-8.png": (Image.fromarray(ramp(3)), turned(8), "62791d23cac142b5"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_every_kind_of_file_gives_the_pixels_that_it_always_gave(tmp_path, name):
    image, settings, digest = KNOWN[name]
    image.save(tmp_path / name, **settings)
    assert hashlib.sha256(read_image(tmp_path / name).tobytes()).hexdigest().startswith(digest)


def test_orientation_of_a_camera_is_undone(tmp_path):
    Image.fromarray(ramp(3)).save(tmp_path / "x.png", **turned(6))  # 6: turn it clockwise
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), np.rot90(ramp(3), -1))


def test_transparency_lies_on_white(tmp_path):
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png") == 255).all()


def test_the_one_transparent_grey_of_a_deep_png_is_white(tmp_path):
    values = ramp(1, np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png", transparency=int(values[0, 3]))
    expected = scale_to_bytes(values, 65535)
    expected[0, 3] = 255
    np.testing.assert_array_equal(read_image(tmp_path / "x.png")[..., 0], expected)


def test_an_infinite_value_is_white_and_does_not_darken_the_rest(tmp_path):
    values = ramp(1).astype(np.float32) / 255
    values[0, 3] = np.inf
    Image.fromarray(values).save(tmp_path / "x.tif")
    expected = ramp(1).copy()
    expected[0, 3] = 255
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif")[..., 0], expected)


def test_a_grey_image_with_a_profile_of_colours_is_converted_by_it(tmp_path):
    Image.fromarray(ramp(1)).save(tmp_path / "grey.png", icc_profile=odd_images.swapped_profile())
    colour = Image.fromarray(np.repeat(ramp(1)[..., None], 3, axis=2))
    colour.save(tmp_path / "colour.png", icc_profile=odd_images.swapped_profile())
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), read_image(tmp_path / "colour.png"))


def test_transparency_in_a_palettes_own_colours_is_kept():
    image = Image.fromarray(np.dstack([ramp(3), np.zeros((7, 5), np.uint8)])).quantize(8)
    assert (image.mode, image.palette.mode) == ("P", "RGBA")
    assert (to_srgb(image) == 255).all()
