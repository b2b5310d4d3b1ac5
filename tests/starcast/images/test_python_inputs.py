from __future__ import annotations

import io

import numpy as np
import odd_images
import pytest
from PIL import Image, ImageCms

from starcast.errors import ImageError
from starcast.images.python_inputs import one_image, some_images
from starcast.images.read import read_image

SCENE = odd_images.scene()


def test_a_pillow_image_of_any_file_is_what_the_file_reader_gives(tmp_path):
    for name, (content, _, _) in odd_images.readable().items():
        if "miaf" in name or "MA1B" in name:  # Pillow does not open these by itself
            continue
        (tmp_path / name).write_bytes(content)
        with Image.open(tmp_path / name) as image:
            np.testing.assert_array_equal(one_image(image, "a source"), read_image(tmp_path / name), err_msg=name)


@pytest.mark.parametrize(("mode", "tolerance"), [
    ("RGB", 0), ("RGBA", 0), ("RGBa", 0), ("RGBX", 0), ("CMYK", 0), ("YCbCr", 3), ("HSV", 4),
])  # fmt: skip
def test_every_colour_mode_of_pillow_gives_the_same_colours(mode, tolerance):
    image = Image.fromarray(SCENE)
    converted = image.convert("RGBA").convert(mode) if mode == "RGBa" else image.convert(mode)
    assert odd_images.largest_difference(one_image(converted, "a source"), SCENE) <= tolerance


def test_a_palette_is_read_with_its_colours():
    assert odd_images.largest_difference(one_image(Image.fromarray(SCENE).quantize(16), "a source"), SCENE) <= 2


def test_lab_is_read_as_lab():
    spaces = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.applyTransform(Image.fromarray(SCENE), ImageCms.buildTransform(*spaces, "RGB", "LAB"))
    assert odd_images.largest_difference(one_image(lab, "a source"), SCENE) <= 4


@pytest.mark.parametrize("mode", ["L", "LA", "La", "I", "I;16", "F"])
def test_every_grey_mode_of_pillow_gives_the_same_greys(mode):
    grey = odd_images.grey_scene()
    deep = grey.astype(np.uint16) * 257
    image = {"I": Image.fromarray(deep.astype(np.int32)), "I;16": Image.fromarray(deep),
             "F": Image.fromarray(grey / np.float32(255))}.get(mode)  # fmt: skip
    image = image or (Image.fromarray(grey).convert("LA").convert(mode) if mode == "La" else
                      Image.fromarray(grey).convert(mode))  # fmt: skip
    np.testing.assert_array_equal(one_image(image, "a source"), np.repeat(grey[..., None], 3, axis=2))


def test_a_list_holds_images_of_either_kind_and_of_one_size():
    image = Image.fromarray(SCENE)
    batch, is_one = some_images([image, SCENE, image.convert("CMYK")])
    assert not is_one
    np.testing.assert_array_equal(batch, np.stack([SCENE] * 3))
    with pytest.raises(
        ValueError, match="all sources of a call must have one size, not 8x8 and 64x48: translate them one by"
    ):
        some_images([image, image.resize((8, 8))])


def test_arrays_that_are_turned_read_only_or_tensors_are_taken():
    torch = pytest.importorskip("torch")
    turned = SCENE[::-1, :, ::-1]
    turned.flags.writeable = False
    for given in (turned, torch.from_numpy(turned.copy()), [turned]):
        batch, _ = some_images(given)
        assert batch.flags.c_contiguous
        np.testing.assert_array_equal(batch[0], turned)


FLOATS = SCENE / np.float32(255)


@pytest.mark.parametrize(("given", "error", "words"), [
    (FLOATS, TypeError, r"not float32 from 0.117647 to 0.862745: give \(255 \* images\).round\(\)"),
    (FLOATS * 2 - 1, TypeError, r": give \(127.5 \* \(images \+ 1\)\).round\(\)"),
    (SCENE.astype(np.float64), TypeError, "not float64 from 30 to 220: give images.round"),
    (SCENE.astype(np.int64), TypeError, "not int64 from 30 to 220: give images.astype"),
    (SCENE.astype(np.uint16) * 257, TypeError, "if white is 65535"),
    (SCENE > 99, TypeError, "not bool: multiply by 255"),
    (np.full((2, 2, 3), np.nan, np.float32), TypeError, "not float32$"),
    (SCENE.transpose(2, 0, 1), ValueError, r"channels come last, as numpy.transpose\(images, \(1, 2, 0\)\)"),
    (SCENE[..., 0], ValueError, r"not \[48, 64\]: grey needs three channels"),
    (np.dstack([SCENE, SCENE[..., 0]]), ValueError, "drop the alpha channel"),
    (np.zeros((1, 2, 4, 5, 3), np.uint8), ValueError, r"not \[1, 2, 4, 5, 3\]$"),
    ("photo.jpg", TypeError, "not str: read the file with `read_image`"),
    (None, TypeError, "not NoneType"),
    (object(), TypeError, "not object"),
    ([["photo.jpg"]], TypeError, "not <U9"),
    (["photo.jpg"], TypeError, "not str: read the file"),
    ([SCENE, None], TypeError, "not NoneType"),
    ([[1, 2], [3]], TypeError, "not list"),
    (Image.new("RGB", (0, 3)), ValueError, "is 0x3: there is nothing to translate"),
], ids=lambda value: value if isinstance(value, str) else type(value).__name__)  # fmt: skip
def test_whatever_else_is_given_is_refused_with_what_it_is_and_what_to_do(given, error, words):
    with pytest.raises(error, match=words):
        some_images(given)


def test_a_pillow_image_whose_file_is_damaged_is_an_image_error():
    content = odd_images.encoded(Image.fromarray(SCENE), "PNG")
    with (
        Image.open(io.BytesIO(content[: len(content) // 2])) as image,
        pytest.raises(ImageError, match="open a whole copy"),
    ):
        one_image(image, "a source")
