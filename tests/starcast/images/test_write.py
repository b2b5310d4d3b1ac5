from __future__ import annotations

from pathlib import Path

import numpy as np
import odd_images
import pytest
from PIL import Image

from starcast.errors import ImageError
from starcast.images.read import read_image, read_stored
from starcast.images.write import write_image


@pytest.mark.parametrize(("suffix", "largest"), [(".png", 0), (".PNG", 0), (".webp", 0), (".jpg", 3), (".jpeg", 3)])
def test_a_written_image_reads_back(tmp_path, suffix, largest):
    path = tmp_path / f"new folder/out{suffix}"
    write_image(path, odd_images.scene(), mark="starcast settings=1")
    difference = np.abs(read_image(path).astype(int) - odd_images.scene())
    assert difference.max() <= largest
    assert read_stored(path).mark == "starcast settings=1"
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


@pytest.mark.parametrize(("name", "longest"), [("x.jpg", 65_500), ("x.jpeg", 65_500), ("x.webp", 16_383)])
def test_a_side_that_the_format_cannot_hold_is_said_before_anything_is_written(tmp_path, name, longest):
    write_image(tmp_path / name, np.zeros((1, longest, 3), np.uint8))
    with Image.open(tmp_path / name) as image:
        assert image.size == (longest, 1)
    (tmp_path / name).unlink()
    for shape in ((1, longest + 1, 3), (longest + 1, 1, 3)):
        with pytest.raises(ImageError, match=f"pixels are more than the {longest} a side that .* choose PNG"):
            write_image(tmp_path / name, np.zeros(shape, np.uint8))
    assert not list(tmp_path.iterdir())


def test_an_array_of_another_kind_is_a_programming_mistake(tmp_path):
    with pytest.raises(TypeError, match="uint8"):
        write_image(tmp_path / "x.png", np.zeros((4, 4, 3), np.float32))


def test_a_place_that_cannot_be_written_to_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ImageError, match="cannot be written"):
        write_image(tmp_path / "file/x.png", np.zeros((4, 4, 3), np.uint8))


def test_a_failed_write_leaves_the_old_image(tmp_path, monkeypatch):
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


def test_an_image_without_a_mark_has_none(tmp_path):
    write_image(tmp_path / "x.png", np.zeros((4, 4, 3), np.uint8))
    assert read_stored(tmp_path / "x.png").mark is None
