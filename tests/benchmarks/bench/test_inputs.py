"""Every row gets the same pictures, of the data set where there is one."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from starcast.benchmarks.bench.inputs import Inputs, check_size, held_out_images, parse_size, training_images
from starcast.errors import OptionError


@pytest.mark.parametrize(("text", "size"), [("256", (256, 256)), ("512x288", (288, 512)), ("32X64", (64, 32))])
def test_a_size_is_width_by_height_or_one_number_for_a_square(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "0", "1x2x3", "wide", "-4", "4.5", "256x"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(OptionError, match="--size"):
        parse_size(text)


def test_a_size_that_the_network_cannot_halve_is_refused():
    check_size((288, 512), 16)
    with pytest.raises(OptionError, match=r"500x288.*16"):
        check_size((288, 500), 16)


def test_made_pictures_are_the_same_each_time_and_textured():
    first = held_out_images(None, 3, (64, 32))
    assert first.shape == (3, 64, 32, 3)
    assert np.array_equal(first, held_out_images(None, 3, (64, 32)))
    assert first.std(axis=(1, 2)).min() > 10
    assert not np.array_equal(first, training_images(None, 3, (64, 32)))


@pytest.fixture
def data(tmp_path):
    for domain, level in (("cat", 10), ("dog", 200)):
        for split, add in (("train", 0), ("val", 5)):
            folder = tmp_path / domain / split
            folder.mkdir(parents=True)
            Image.new("RGB", (20, 20), (level + add,) * 3).save(folder / "a.png")
    return tmp_path


def test_pictures_that_are_compared_are_held_out_and_the_domains_take_turns(data):
    assert held_out_images(data, 2, (8, 8))[:, 0, 0, 0].tolist() == [15, 205]
    assert training_images(data, 2, (8, 8))[:, 0, 0, 0].tolist() == [10, 200]


def test_a_small_data_set_is_filled_up_and_one_that_is_gone_replaced(data):
    assert held_out_images(data, 5, (8, 8)).shape == (5, 8, 8, 3)
    gone = held_out_images(data / "gone", 2, (8, 8))
    assert np.array_equal(gone, held_out_images(None, 2, (8, 8)))


def same(one, other):
    assert list(one.feeds) == list(other.feeds)
    for name, array in one.feeds.items():
        np.testing.assert_array_equal(array, other.feeds[name])
        assert array.dtype == other.feeds[name].dtype


TRANSLATED = Inputs(np.arange(36, dtype=np.uint8).reshape(3, 2, 2, 3), np.ones((1, 4), np.float32))
GENERATED = Inputs(
    None, np.arange(24, dtype=np.float32).reshape(3, 2, 4),
    {
        "noise_1": np.arange(12, dtype=np.float32).reshape(3, 1, 2, 2),  # not in the order of their names
        "noise_0": np.ones((1, 1, 1, 1), np.float32),
    },
)  # fmt: skip


@pytest.mark.parametrize("kept", [TRANSLATED, GENERATED])
def test_inputs_come_back_from_their_file(tmp_path, kept):
    kept.save(tmp_path / "inputs.npz")
    same(Inputs.load(tmp_path / "inputs.npz"), kept)


def test_a_graphs_inputs_are_the_images_and_styles_or_the_styles_and_noise():
    assert list(TRANSLATED.feeds) == ["image", "style"]
    assert list(GENERATED.feeds) == ["style", "noise_1", "noise_0"]
    assert len(TRANSLATED) == len(GENERATED) == 3


@pytest.mark.parametrize("whole", [TRANSLATED, GENERATED])
def test_a_batch_has_the_inputs_of_its_images_and_all_that_they_share(whole):
    counted = next(iter(whole.feeds))
    for part, places in ((whole.take(slice(1, 3)), [1, 2]), (whole.repeated(5), [0, 1, 2, 0, 1])):
        assert len(part) == len(places)
        for name, array in whole.feeds.items():
            expected = array if len(array) == 1 else array[places]
            np.testing.assert_array_equal(part.feeds[name], expected)
    assert len(whole.take(slice(1)).repeated(4).feeds[counted]) == 4
