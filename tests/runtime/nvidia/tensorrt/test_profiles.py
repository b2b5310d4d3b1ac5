from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starcast.errors import OptionError
from starcast.runtime.manifest import Source
from starcast.runtime.nvidia.tensorrt.profiles import LARGEST, Range, Sizes, batch_range, own_size, profile, size_range

SOURCE = Source(channels=3, height=256, width=192, stride=16)


def test_one_number_is_a_batch_that_does_not_change():
    assert batch_range("8") == Range(8, 8, 8)


@given(st.lists(st.integers(1, LARGEST), min_size=3, max_size=3))
def test_three_numbers_are_a_range_if_they_rise_and_an_error_if_not(numbers):
    text = ":".join(map(str, numbers))
    if numbers == sorted(numbers):
        assert batch_range(text).all == tuple(numbers)
    else:
        with pytest.raises(OptionError, match="smallest first"):
            batch_range(text)


@pytest.mark.parametrize("text", ["", "0", "-1", "1:2", "1:2:3:4", "a", "1_0", "٣", "1:4:", " 4", "1e3", "99999"])
def test_what_is_no_batch_is_one_sentence_that_repeats_it(text):
    with pytest.raises(OptionError, match="--batch-range is") as caught:
        batch_range(text)
    assert repr(text) in str(caught.value)


def test_a_size_is_width_times_height():
    assert size_range("64x128", SOURCE) == Sizes(height=Range.fixed(128), width=Range.fixed(64))


def test_three_sizes_are_a_range_of_each_side():
    assert size_range("128x64:256x256:512x512", SOURCE) == Sizes(Range(64, 256, 512), Range(128, 256, 512))


@pytest.mark.parametrize("text", ["256", "256x", "x256", "256x256x3", "0x256", "256X256", "256x256:512x512", "-16x16"])
def test_what_is_no_size_is_one_sentence_that_repeats_it(text):
    with pytest.raises(OptionError, match="--size-range is") as caught:
        size_range(text, SOURCE)
    assert repr(text) in str(caught.value)


def test_a_side_that_is_no_multiple_of_the_stride_is_told_the_next_one():
    with pytest.raises(OptionError, match="multiples of 16 only: give 272 in place of 260"):
        size_range("256x260", SOURCE)


def test_a_range_of_sizes_that_falls_in_one_side_is_refused():
    with pytest.raises(OptionError, match="smallest first"):
        size_range("64x128:128x64:256x256", SOURCE)


def test_a_bundles_own_size_is_fixed():
    assert own_size(SOURCE) == Sizes(height=Range.fixed(256), width=Range.fixed(192))


def test_a_profile_has_the_dimensions_in_their_order_and_fixed_ones_in_all_three_shapes():
    assert profile(Range(1, 4, 8), 256, Range(16, 32, 64), 3) == ((1, 256, 16, 3), (4, 256, 32, 3), (8, 256, 64, 3))
