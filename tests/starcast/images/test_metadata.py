from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from starcast.images.metadata import EXIF_PREFIX, read_metadata
from starcast.images.read import read_stored

IIM = b"\x1c\x02\x50\x00\x03Ann"  # IPTC 2:80, by-line
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


def _app13(iim: bytes) -> bytes:
    block = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">L", len(iim)) + iim
    return b"\xff\xed" + struct.pack(">H", len(block) + 2) + block


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x8769] = {0x9003: "2001:02:03 04:05:06", 0x927C: b"Maker\0\1\2"}
    return exif


def _reread(image: Image.Image, format_name: str, **settings: object) -> Image.Image:
    file = io.BytesIO()
    image.save(file, format_name, **settings)
    file.seek(0)
    opened = Image.open(file)
    opened.load()
    return opened


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_exif_is_read_from_every_format_that_has_it(format_name):
    metadata = read_metadata(_reread(Image.new("RGB", (8, 8)), format_name, exif=_exif().tobytes()))
    block = Image.Exif()
    block.load(metadata.exif)
    assert block[0x010F] == "Maker"
    assert block.get_ifd(0x8769)[0x9003] == "2001:02:03 04:05:06"
    assert not metadata.exif.startswith(EXIF_PREFIX)
    assert metadata.lost == (("the camera maker's notes in its EXIF",) if format_name == "TIFF" else ())


def test_what_a_jpeg_says_of_itself_is_read():
    metadata = read_metadata(
        _reread(Image.new("RGB", (8, 8)), "JPEG", extra=_app13(IIM), xmp=XMP, comment="Grüße", dpi=(300, 150))
    )
    assert (metadata.iptc, metadata.xmp) == (IIM, XMP)
    assert (metadata.comment, metadata.dpi) == ("Grüße", (300, 150))


def test_what_a_png_says_of_itself_is_read():
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", "Ann")
    texts.add_itxt("Title", "雪", lang="zh")
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    texts.add_text("Raw profile type iptc", f"\niptc\n{len(IIM):8}\n{IIM.hex()}\n")
    metadata = read_metadata(_reread(Image.new("RGB", (8, 8)), "PNG", pnginfo=texts, dpi=(300, 300)))
    assert metadata.texts == (("Author", "Ann"), ("Title", "雪"))
    assert (metadata.iptc, metadata.xmp) == (IIM, XMP)
    assert metadata.dpi == pytest.approx((300, 300), abs=0.01)


def test_alpha_is_upright_and_beside_pixels_on_white(tmp_path):
    stored = np.zeros((2, 3, 4), np.uint8)
    stored[0, 0, 3] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(stored).save(tmp_path / "x.png", exif=exif, dpi=(100, 200))
    image = read_stored(tmp_path / "x.png")
    assert image.alpha is not None
    assert image.alpha.shape == image.pixels.shape[:2] == (3, 2)
    assert image.alpha[0, 1] == 255
    assert image.alpha.sum() == 255
    assert image.pixels[0, 1].tolist() == [0, 0, 0]
    assert image.pixels[0, 0].tolist() == [255, 255, 255]
    assert image.metadata.dpi == pytest.approx((200, 100), abs=0.01)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "CMYK", "I;16", "F"])
def test_an_image_that_is_opaque_has_no_alpha(tmp_path, mode):
    name = "x.tif"
    Image.new(mode, (3, 2)).save(tmp_path / name)
    assert read_stored(tmp_path / name).alpha is None


@pytest.mark.parametrize(("mode", "clear"), [("P", 0), ("L", 0), ("RGB", (0, 0, 0)), ("P", bytes([0, 128]))])
def test_transparent_colours_of_a_png_are_alpha(tmp_path, mode, clear):
    Image.new(mode, (3, 2)).save(tmp_path / "x.png", transparency=clear)
    alpha = read_stored(tmp_path / "x.png").alpha
    assert alpha is not None
    assert (alpha == 0).all()


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage!", b"Exif\0\0MM\0*"])
def test_damaged_exif_costs_no_image(tmp_path, exif):
    Image.new("RGB", (4, 4)).save(tmp_path / "x.jpg", exif=exif)
    assert read_stored(tmp_path / "x.jpg").pixels.shape == (4, 4, 3)
