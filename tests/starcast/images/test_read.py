from __future__ import annotations

import io
import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import odd_images
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from starcast.errors import ImageError, printable
from starcast.images.read import read_image, read_stored
from starcast.images.write import write_image


def test_every_format_mode_depth_and_orientation_is_read_upright_and_in_srgb(tmp_path):
    wrong = {}
    for name, (content, expected, tolerance) in odd_images.readable().items():
        path = tmp_path / name
        path.write_bytes(content)
        difference = odd_images.largest_difference(read_image(path), expected)
        if difference > tolerance:
            wrong[name] = difference
    assert wrong == {}


def test_every_bad_file_gets_one_sentence_with_its_name_the_cause_and_a_next_step(tmp_path):
    for name, (content, cause) in odd_images.unreadable().items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ImageError) as raised:
            read_image(path, limit_flag="--max-pixels")
        sentence = str(raised.value)
        assert name in sentence
        assert cause in sentence
        assert ": " in sentence.removeprefix(str(path))
        assert "\n" not in sentence
        assert not sentence.endswith(".")


@pytest.mark.parametrize(("make", "cause"), [
    (lambda path: None, "does not exist"),
    (lambda path: path.mkdir(), "is a folder"),
    (lambda path: path.symlink_to(path.with_name("nowhere")), "link that leads nowhere"),
    (lambda path: path.symlink_to(path), "cannot be opened"),
    (lambda path: os.mkfifo(path), "pipe or a device"),
], ids=["missing", "folder", "broken link", "link to itself", "pipe"])  # fmt: skip
@pytest.mark.skipif(os.name == "nt", reason="links and pipes are Unix's")
def test_what_is_no_file_is_refused_without_opening_it(tmp_path, make, cause):
    path = tmp_path / "x.png"
    make(path)
    with pytest.raises(ImageError, match=cause):
        read_image(path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs Unix's devices")
def test_a_device_without_end_is_refused():
    with pytest.raises(ImageError, match="device"):
        read_image("/dev/zero")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="rights do not bind this user")
def test_a_file_without_rights_says_so(tmp_path):
    path = tmp_path / "secret.png"
    write_image(path, np.zeros((4, 4, 3), np.uint8))
    path.chmod(0)
    with pytest.raises(ImageError, match="permission denied"):
        read_image(path)


@pytest.mark.parametrize("name", ["a\nb.png", "tab\tand\x1b[31mcolour.png"])
@pytest.mark.skipif(os.name == "nt", reason="Windows allows no such names")
def test_names_with_control_characters_are_read_and_shown_on_one_line(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"")
    with pytest.raises(ImageError) as raised:
        read_image(path)
    assert str(raised.value).isprintable()
    write_image(path, odd_images.scene())
    np.testing.assert_array_equal(read_image(path), odd_images.scene())


def test_undecodable_bytes_in_a_name_can_be_printed():
    assert printable(os.fsdecode(b"caf\xe9.png")).encode("utf-8")
    assert printable("Ünï 画像.png") == "Ünï 画像.png"


def test_the_pixel_limit_is_an_argument_and_checked_from_the_header(tmp_path):
    path = tmp_path / "small.png"
    write_image(path, np.zeros((10, 20, 3), np.uint8))
    assert read_image(path, max_pixels=200).shape == (10, 20, 3)
    with pytest.raises(ImageError, match=r"20 x 10 pixels, more than the limit of 199: .*--max-pixels"):
        read_image(path, max_pixels=199, limit_flag="--max-pixels")


def test_a_file_larger_than_its_pixels_can_need_is_not_read(tmp_path):
    path = tmp_path / "sparse.webp"
    with path.open("wb") as file:
        file.write(b"RIFF\xff\xff\xff\x7fWEBPVP8L")
        file.truncate(2**27)
    with pytest.raises(ImageError, match="more than 100 pixels can need"):
        read_image(path, max_pixels=100)


def test_a_jpeg_may_be_decoded_smaller_and_never_below_what_is_needed(tmp_path):
    scene = np.repeat(np.repeat(odd_images.scene(), 10, axis=0), 10, axis=1)
    path = tmp_path / "large.jpg"
    write_image(path, scene)
    assert read_image(path).shape == (480, 640, 3)
    assert read_image(path, at_least=(64, 64)).shape == (120, 160, 3)
    assert read_image(path, at_least=(480, 480)).shape == (480, 640, 3)
    small = read_image(path, at_least=(40, 48))
    assert odd_images.largest_difference(small[5::10, 5::10], scene[5::80, 5::80]) <= 6


def test_pillows_own_settings_and_warnings_are_as_before_afterwards(tmp_path):
    path = tmp_path / "x.png"
    write_image(path, odd_images.scene())
    limit, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    with ThreadPoolExecutor(4) as workers:
        list(workers.map(read_image, [path] * 40))
    assert limit == Image.MAX_IMAGE_PIXELS
    assert list(warnings.filters) == filters


def test_images_beyond_pillows_own_limit_are_read_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    path = tmp_path / "x.png"
    write_image(path, odd_images.scene())
    np.testing.assert_array_equal(read_image(path), odd_images.scene())


def _small_files() -> list[tuple[str, bytes]]:
    image = Image.fromarray(np.random.default_rng(3).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    files = []
    for name in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "TGA", "JPEG2000", "QOI"):
        buffer = io.BytesIO()
        extra = {"exif": exif, "icc_profile": bytes(200)} if name in ("PNG", "JPEG", "WEBP", "TIFF") else {}
        image.save(buffer, format=name, **extra)
        files.append((name, buffer.getvalue()))
    buffer = io.BytesIO()
    image.save(buffer, format="TIFF", compression="tiff_deflate")
    return [*files, ("TIFF", buffer.getvalue())]


SMALL_FILES = _small_files()


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    which=st.integers(0, len(SMALL_FILES) - 1),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=4),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_flipped_and_cut_files_give_an_image_or_an_image_error(tmp_path, which, flips, kept):
    name, content = SMALL_FILES[which]
    damaged = bytearray(content)
    for where, mask in flips:
        damaged[int(where * len(damaged))] ^= mask
    path = tmp_path / f"fuzzed.{name.lower()}"
    path.write_bytes(bytes(damaged[: round(kept * len(damaged))]))
    try:
        image = read_image(path, max_pixels=10_000)
    except ImageError:
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3


def test_large_images_are_decoded_one_at_a_time(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    write_image(path, odd_images.scene())
    monkeypatch.setattr("starcast.images.read.LARGE_PIXELS", 10)
    inside, most, lock = 0, 0, threading.Lock()
    original = Image.Image.getexif

    def counted(self):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        result = original(self)
        with lock:
            inside -= 1
        return result

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.getexif", counted)
    with ThreadPoolExecutor(4) as workers:
        list(workers.map(read_image, [path] * 20))
    assert most == 1


def test_the_mode_of_a_file_comes_beside_its_pixels(tmp_path):
    Image.new("LA", (3, 2)).save(tmp_path / "x.png")
    image = read_stored(tmp_path / "x.png")
    assert (image.pixels.shape, image.mode) == ((2, 3, 3), "LA")


def test_the_error_names_a_flag_only_where_there_is_one(tmp_path):
    (tmp_path / "huge.png").write_bytes(odd_images.png_header(60_000, 60_000))
    with pytest.raises(ImageError, match="60000 x 60000 pixels, more than the limit of 200000000: scale it down$"):
        read_image(tmp_path / "huge.png")


@pytest.mark.parametrize("address", ["https://example.org/a.png", "HTTP://example.org/a", "s3://bucket/a.png"])
def test_an_address_is_called_one_and_not_a_missing_file(address):
    with pytest.raises(ImageError, match="is a URL, and only files on this machine are opened: download it"):
        read_image(Path(address))
