"""Samples of 9 to 15 bits. What is right follows from the PNG standard (sBIT) and TIFF 6.0, and from arithmetic."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import odd_images
import pytest
from PIL import Image

from starcast.images.read import read_image, read_stored

BITS = [9, 10, 12, 14, 15]


def samples(bits: int, *channels: int) -> np.ndarray:
    return np.random.default_rng(bits).integers(0, 2**bits, (20, 30, *channels), dtype=np.uint16)


def png(values: np.ndarray, *significant: int) -> bytes:
    done, content = cv2.imencode(".png", values[..., [2, 1, 0, 3][: values.shape[2]]] if values.ndim == 3 else values)
    assert done
    return (
        odd_images.with_png_chunk(content.tobytes(), b"sBIT", bytes(significant)) if significant else content.tobytes()
    )


def tiff(values: np.ndarray, **tags: int) -> bytes:
    """Uncompressed, by hand: Pillow writes no 12 bits and no white at 0."""
    numbers = {"bits": 258, "photometric": 262, "largest": 281}
    channels = values.shape[2] if values.ndim == 3 else 1
    bits = tags.pop("bits", 16)
    content = values.astype("<u2").tobytes()
    if bits == 12:
        flat = np.unpackbits(values.astype(">u2").view(np.uint8).reshape(-1, 2), axis=1)[:, 4:]
        content = np.packbits(flat.ravel()).tobytes()
    entries = {256: values.shape[1], 257: values.shape[0], 259: 1, 262: 2 if channels == 3 else 1, 277: channels,
               278: values.shape[0]}  # fmt: skip
    entries |= {numbers[name]: value for name, value in tags.items()}
    count = len(entries) + 3
    behind = 8 + 2 + 12 * count + 4
    rows = [(number, 3, 1, struct.pack("<HH", value, 0)) for number, value in entries.items()]
    rows.append((258, 3, channels, struct.pack("<HH", bits, 0) if channels == 1 else struct.pack("<I", behind)))
    rows += [(273, 4, 1, struct.pack("<I", behind + 8)), (279, 4, 1, struct.pack("<I", len(content)))]
    table = b"".join(struct.pack("<HHI", *row[:3]) + row[3] for row in sorted(rows))
    return b"II*\0" + struct.pack("<IH", 8, count) + table + bytes(4) + struct.pack("<4H", *[bits] * 4) + content


def read(tmp_path, content: bytes, suffix: str = "png"):
    (tmp_path / f"x.{suffix}").write_bytes(content)
    return read_stored(tmp_path / f"x.{suffix}")


def expected(values: np.ndarray, bits: int) -> np.ndarray:
    scaled = np.rint(values / (2**bits - 1) * 255).astype(np.uint8)
    return scaled if scaled.ndim == 3 else np.repeat(scaled[..., None], 3, axis=2)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("channels", [(), (3,)], ids=["grey", "colour"])
def test_low_samples_whose_number_of_bits_is_stated_are_scaled_with_a_remark(tmp_path, bits, channels):
    values = samples(bits, *channels) >> (0 if not channels else max(0, bits - 12))
    values[0, 0] |= 1  # certainly not spread
    stored = read(tmp_path, png(values, *[bits] * (3 if channels else 1)))
    assert np.abs(stored.pixels.astype(int) - expected(values, bits)).max() <= 1
    white = 2**bits - 1
    assert stored.notes == (f"has {bits}-bit samples in the low bits of 16: they are read with {white} as white",)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("brightest", [1.0, 0.06], ids=["bright", "dark"])
def test_samples_that_are_spread_as_the_standard_wants_are_left_alone(tmp_path, bits, brightest):
    values = (samples(bits) * brightest).astype(np.uint32)
    spread = {
        "repeated": (values << (16 - bits)) | (values >> (2 * bits - 16)),
        "shifted": values << (16 - bits),
        "scaled": np.rint(values * 65535 / (2**bits - 1)),
    }
    for way in spread.values():
        stored = read(tmp_path, png(way.astype(np.uint16), bits))
        assert np.abs(stored.pixels.astype(int) - expected(values, bits)).max() <= 1
        assert stored.notes == ()


def test_transparency_of_12_bits_is_scaled_too(tmp_path):
    values = samples(12, 4)
    values[..., 3] = 4095
    stored = read(tmp_path, png(values, 12, 12, 12, 12))
    assert np.abs(stored.pixels.astype(int) - expected(values[..., :3], 12)).max() <= 1


def test_a_transparent_grey_stays_the_one_that_is_meant(tmp_path):
    values = samples(12)
    values[0, 0], values[0, 1] = 1001, 1002
    content = png(values, 12)
    clear = struct.pack(">H", 1001)
    stored = read(tmp_path, odd_images.with_png_chunk(content, b"tRNS", clear))
    assert stored.alpha is not None
    assert (stored.alpha[0, 0], stored.alpha[0, 1]) == (0, 255)


@pytest.mark.parametrize(("make", "suffix"), [
    (lambda: png(samples(12)), "png"), (lambda: png(samples(12, 3)), "png"), (lambda: tiff(samples(12)), "tif"),
    (lambda: tiff(samples(12, 3)), "tif"),
], ids=["grey PNG", "colour PNG", "grey TIFF", "colour TIFF"])  # fmt: skip
def test_dark_samples_of_which_nothing_is_stated_stay_as_they_are_with_a_remark(tmp_path, make, suffix):
    stored = read(tmp_path, make(), suffix)
    assert stored.pixels.max() <= 16
    (note,) = stored.notes
    assert note.endswith("comes out nearly black: if its samples have 12 bits, multiply them by 16")


def test_ordinary_deep_images_have_no_remark(tmp_path):
    assert read(tmp_path, png(np.zeros((4, 5), np.uint16))).notes == ()
    assert read(tmp_path, png(samples(12) * 16)).notes == ()
    assert read(tmp_path, png(samples(12, 3) * 16)).notes == ()


def test_packed_12_bit_tiffs_are_read_with_4095_as_white(tmp_path):
    values = samples(12)
    np.testing.assert_array_equal(read(tmp_path, tiff(values, bits=12), "tif").pixels, expected(values, 12))


@pytest.mark.parametrize("channels", [(), (3,)], ids=["grey", "colour"])
def test_a_tiffs_largest_sample_says_what_is_white(tmp_path, channels):
    values = samples(12, *channels)
    stored = read(tmp_path, tiff(values, largest=4095), "tif")
    assert np.abs(stored.pixels.astype(int) - expected(values, 12)).max() <= 1
    assert "they are read with 4095 as white" in stored.notes[0]


def test_a_deep_tiff_whose_white_is_0_is_not_inverted(tmp_path):
    values = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    stored = read(tmp_path, tiff(65535 - values, photometric=0), "tif")
    np.testing.assert_array_equal(stored.pixels, expected(values, 16))


@pytest.mark.parametrize("white", [1023, 4095, 16383])
def test_the_white_of_a_pgm_or_ppm_is_its_largest_value(tmp_path, white):
    bits = white.bit_length()
    for letter, values in (("5", samples(bits)), ("6", samples(bits, 3))):
        content = f"P{letter} 30 20 {white}\n".encode() + values.astype(">u2").tobytes()
        (tmp_path / "x.pnm").write_bytes(content)
        assert np.abs(read_image(tmp_path / "x.pnm").astype(int) - expected(values, bits)).max() <= 1


def test_the_turn_and_the_profile_of_a_low_image_are_kept(tmp_path):
    values = samples(12, 3)
    (tmp_path / "low.png").write_bytes(png(values, 12, 12, 12))
    plain = Image.fromarray(expected(values, 12))
    exif = Image.Exif()
    exif[0x0112] = 6
    plain.save(tmp_path / "plain.png", exif=exif, icc_profile=odd_images.swapped_profile())
    content = (tmp_path / "plain.png").read_bytes()
    added = [content[at - 4 : at + 8 + int.from_bytes(content[at - 4 : at], "big")] for at in
             (content.index(b"iCCP"), content.index(b"eXIf"))]  # fmt: skip
    low = (tmp_path / "low.png").read_bytes()
    (tmp_path / "low.png").write_bytes(low[:33] + b"".join(added) + low[33:])
    difference = read_image(tmp_path / "low.png").astype(int) - read_image(tmp_path / "plain.png")
    assert np.abs(difference).max() <= 2
