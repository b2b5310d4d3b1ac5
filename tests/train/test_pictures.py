"""Pictures are read as the runtime reads them, and damaged ones are named."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from starcast.errors import ImageError
from starcast.images.read import read_image
from starcast.train.pictures import read_picture


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


PICTURES = {
    "rgb.png": (Image.fromarray(ramp(3)), {}),
    "grey.png": (Image.fromarray(ramp(1)), {}),
    "deep.png": (Image.fromarray(ramp(1, np.uint16)), {}),
    "alpha.png": (Image.fromarray(ramp(4)), {}),
    "grey-alpha.png": (Image.fromarray(ramp(4)).convert("LA"), {}),
    "palette.png": (Image.fromarray(ramp(3)).quantize(8), {}),
    "palette-clear.png": (Image.fromarray(ramp(3)).quantize(8), {"transparency": 3}),
    "bilevel.png": (Image.fromarray(ramp(1)).convert("1"), {}),
    "float.tif": (Image.fromarray(ramp(1).astype(np.float32) / 255), {}),
    "cmyk.tif": (Image.fromarray(ramp(3)).convert("CMYK"), {}),
    "deep.tif": (Image.fromarray(ramp(1, np.uint16)), {}),
    "srgb.png": (Image.fromarray(ramp(3)), profile("sRGB")),
    "broken-profile.png": (Image.fromarray(ramp(3)), {"icc_profile": b"nonsense"}),
    **{f"turned-{number}.png": (Image.fromarray(ramp(3)), turned(number)) for number in range(1, 9)},
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_reads_as_the_runtime_reads_it(tmp_path, name):
    picture, settings = PICTURES[name]
    picture.save(tmp_path / name, **settings)
    np.testing.assert_array_equal(read_picture(tmp_path / name), read_image(tmp_path / name))


def test_transparency_lies_on_white(tmp_path):
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_picture(tmp_path / "clear.png") == 255).all()


def test_orientation_of_a_camera_is_undone(tmp_path):
    Image.fromarray(ramp(3)).save(tmp_path / "x.png", **turned(6))  # 6: to be turned clockwise
    np.testing.assert_array_equal(read_picture(tmp_path / "x.png"), np.rot90(ramp(3), -1))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"hello", "is not a picture"),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 40, "is not a picture|is damaged"),
    ],
)
def test_a_file_that_is_no_picture_is_named_with_its_cause(tmp_path, content, sentence):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ImageError, match=rf"x\.png ({sentence})"):
        read_picture(tmp_path / "x.png")


def test_a_picture_cut_short_is_damaged(tmp_path):
    Image.effect_noise((64, 64), 90).save(tmp_path / "whole.jpg")
    (tmp_path / "x.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:800])
    with pytest.raises(ImageError, match="damaged or cut short"):
        read_picture(tmp_path / "x.jpg")


def test_too_many_pixels_are_refused_from_the_header(tmp_path):
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    (tmp_path / "vast.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b""))
    with pytest.raises(ImageError, match=r"vast\.png has more pixels than can be read"):
        read_picture(tmp_path / "vast.png")
