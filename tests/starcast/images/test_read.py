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

from starcast.errors import ImageError
from starcast.images.colour import scaled_to_bytes
from starcast.images.read import mark_of, read_image, shown, write_image


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
            read_image(path)
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
    assert shown(os.fsdecode(b"caf\xe9.png")).encode("utf-8")
    assert shown("Ünï 画像.png") == "Ünï 画像.png"


def test_the_pixel_limit_is_an_argument_and_checked_from_the_header(tmp_path):
    path = tmp_path / "small.png"
    write_image(path, np.zeros((10, 20, 3), np.uint8))
    assert read_image(path, max_pixels=200).shape == (10, 20, 3)
    with pytest.raises(ImageError, match=r"20 x 10 pixels, more than the limit of 199: .*--max-pixels"):
        read_image(path, max_pixels=199)


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


def test_pictures_beyond_pillows_own_limit_are_read_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    path = tmp_path / "x.png"
    write_image(path, odd_images.scene())
    np.testing.assert_array_equal(read_image(path), odd_images.scene())


def _small_files() -> list[tuple[str, bytes]]:
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    files = []
    for name in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "TGA", "JPEG2000", "QOI"):
        buffer = io.BytesIO()
        extra = {"exif": exif, "icc_profile": bytes(200)} if name in ("PNG", "JPEG", "WEBP", "TIFF") else {}
        picture.save(buffer, format=name, **extra)
        files.append((name, buffer.getvalue()))
    buffer = io.BytesIO()
    picture.save(buffer, format="TIFF", compression="tiff_deflate")
    return [*files, ("TIFF", buffer.getvalue())]


SMALL_FILES = _small_files()


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    which=st.integers(0, len(SMALL_FILES) - 1),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=4),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_flipped_and_cut_files_give_a_picture_or_an_image_error(tmp_path, which, flips, kept):
    name, content = SMALL_FILES[which]
    damaged = bytearray(content)
    for where, mask in flips:
        damaged[int(where * len(damaged))] ^= mask
    path = tmp_path / f"fuzzed.{name.lower()}"
    path.write_bytes(bytes(damaged[: round(kept * len(damaged))]))
    try:
        picture = read_image(path, max_pixels=10_000)
    except ImageError:
        return
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3


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
    np.testing.assert_array_equal(scaled_to_bytes(values, full), expected)


@pytest.mark.parametrize(("suffix", "largest"), [(".png", 0), (".PNG", 0), (".webp", 0), (".jpg", 3), (".jpeg", 3)])
def test_a_written_picture_reads_back(tmp_path, suffix, largest):
    path = tmp_path / f"new folder/out{suffix}"
    write_image(path, odd_images.scene(), mark="starcast settings=1")
    difference = np.abs(read_image(path).astype(int) - odd_images.scene())
    assert difference.max() <= largest
    assert mark_of(path) == "starcast settings=1"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_jpeg_keeps_its_colours_at_full_resolution(tmp_path):
    checks = np.zeros((16, 16, 3), np.uint8)
    checks[:, ::2, 0] = 255
    write_image(tmp_path / "x.jpg", checks)
    with Image.open(tmp_path / "x.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


def test_a_suffix_that_cannot_be_written_is_named_with_those_that_can(tmp_path):
    with pytest.raises(ImageError, match=r"x\.gif cannot be written: .*\.png"):
        write_image(tmp_path / "x.gif", np.zeros((4, 4, 3), np.uint8))


def test_an_array_of_another_kind_is_a_programming_mistake(tmp_path):
    with pytest.raises(TypeError, match="uint8"):
        write_image(tmp_path / "x.png", np.zeros((4, 4, 3), np.float32))


def test_a_place_that_cannot_be_written_to_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ImageError, match="cannot be written"):
        write_image(tmp_path / "file/x.png", np.zeros((4, 4, 3), np.uint8))


def test_a_failed_write_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    write_image(path, odd_images.scene())

    def fail(self, target, **_):
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(ImageError, match="no space left on device"):
        write_image(path, odd_images.scene())
    np.testing.assert_array_equal(read_image(path), odd_images.scene())
    assert len(list(tmp_path.iterdir())) == 1


def test_a_name_as_long_as_the_file_system_allows_is_written(tmp_path):
    path = tmp_path / ("x" * 251 + ".png")
    write_image(path, odd_images.scene())
    assert path.exists()


def test_pictures_without_a_mark_and_files_that_are_none_have_none(tmp_path):
    write_image(tmp_path / "x.png", odd_images.scene())
    (tmp_path / "y.png").write_text("text")
    assert mark_of(tmp_path / "x.png") is None
    assert mark_of(tmp_path / "y.png") is None
    assert mark_of(tmp_path / "missing.png") is None
    assert mark_of(tmp_path) is None


def test_large_pictures_are_decoded_one_at_a_time(tmp_path, monkeypatch):
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
