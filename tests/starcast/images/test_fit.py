from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starcast.images.fit import FITS, NATIVE, centred_box, fit, to_multiples

sides = st.integers(1, 40)


def _noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@settings(max_examples=60, deadline=None)
@given(height=sides, width=sides, rows=sides, columns=sides, mode=st.sampled_from(sorted({*FITS} - {NATIVE})))
def test_every_image_gets_the_size(height, width, rows, columns, mode):
    fitted = fit(_noise(rows, columns), (height, width), mode)
    assert fitted.shape == (height, width, 3)
    assert fitted.dtype == np.uint8


@pytest.mark.parametrize("mode", FITS)
def test_an_image_of_that_size_comes_back_untouched(mode):
    image = _noise(12, 20)
    np.testing.assert_array_equal(fit(image, (12, 20), mode), image)


def test_stretch_equals_torchvisions_resize_of_the_official_test_transform():
    transforms = pytest.importorskip("torchvision.transforms")
    from PIL import Image

    image = _noise(57, 83)
    expected = np.asarray(transforms.Resize([32, 32])(Image.fromarray(image)))
    np.testing.assert_array_equal(fit(image, (32, 32)), expected)


def test_stretch_averages_where_it_makes_smaller():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::2] = 200
    assert np.abs(fit(stripes, (8, 8))[1:-1].astype(int) - 100).max() <= 8


def test_crop_takes_the_centre():
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, 20:40] = 255
    np.testing.assert_array_equal(fit(image, (10, 10), "crop"), 255)


def test_crop_of_the_same_aspect_is_the_whole_image():
    image = _noise(24, 48)
    np.testing.assert_array_equal(fit(image, (12, 24), "crop"), fit(image, (12, 24), "stretch"))


@settings(deadline=None)
@given(height=sides, width=sides, aspect=st.floats(0.05, 20))
def test_the_centred_box_has_the_aspect_the_centre_and_touches_a_border(height, width, aspect):
    left, top, right, bottom = centred_box(height, width, aspect)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert width - right - left in (0, 1)
    assert height - bottom - top in (0, 1)
    if right - left == width:
        assert bottom - top == pytest.approx(min(height, max(1, width * aspect)), abs=0.5)
    else:
        assert bottom - top == height
        assert right - left == pytest.approx(max(1, height / aspect), abs=0.5)


@settings(max_examples=40, deadline=None)
@given(height=sides, width=sides, rows=sides, columns=sides)
def test_pad_keeps_everything_and_adds_only_black(height, width, rows, columns):
    white = np.full((rows, columns, 3), 255, np.uint8)
    fitted = fit(white, (height, width), "pad")
    if (rows, columns) == (height, width):
        return
    scale = min(height / rows, width / columns)
    inside = max(1, round(rows * scale)) * max(1, round(columns * scale))
    assert np.isin(fitted, (0, 255)).all()
    assert (fitted[..., 0] == 255).sum() == inside


def test_an_unknown_fit_is_a_programming_mistake():
    with pytest.raises(ValueError, match="stretch, crop, pad"):
        fit(_noise(4, 4), (8, 8), "squeeze")


def test_native_leaves_every_image_as_it_is():
    image = _noise(7, 31)
    assert fit(image, (12, 20), NATIVE) is image


@settings(deadline=None)
@given(height=sides, width=sides, stride=st.integers(1, 32))
def test_multiples_are_reached_by_less_than_a_stride_of_mirror(height, width, stride):
    images = np.stack([_noise(height, width), _noise(height, width)[::-1]])
    padded = to_multiples(images, stride)
    rows, columns = padded.shape[1:3]
    assert rows % stride == columns % stride == 0
    assert 0 <= rows - height < stride
    assert 0 <= columns - width < stride
    np.testing.assert_array_equal(padded[:, :height, :width], images)
    below = min(rows - height, height)
    np.testing.assert_array_equal(padded[:, height : height + below, :width], images[:, ::-1][:, :below])


def test_multiples_are_not_copied():
    images = _noise(12, 20)[None]
    assert to_multiples(images, 4) is images
