from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starcast.kernels.tiling import FILLS, MOST_SLICES, Tiling, power_of_two, tiling_for

SHAPES = st.tuples(st.integers(1, 64), st.integers(1, 2048), st.integers(1, 2**22))
WAYS = st.fixed_dictionaries({"item_bytes": st.sampled_from([2, 4]), "channels_last": st.booleans()})


@given(SHAPES, WAYS, st.booleans())
def test_every_element_has_its_place_and_no_slice_is_empty(shape, ways, whole):
    samples, channels, pixels = shape
    tiling = tiling_for(*shape, **ways, whole=whole)
    groups, slices, of_samples = tiling.grid(samples, channels)
    assert of_samples == samples
    assert (groups - 1) * tiling.channels < channels <= groups * tiling.channels
    span = tiling.tiles * tiling.pixels
    assert (slices - 1) * span < pixels <= slices * span


@given(SHAPES, WAYS, st.booleans())
def test_a_tile_is_what_triton_takes(shape, ways, whole):
    """Powers of two, at most 1024 threads, and no more elements a thread than registers hold."""
    tiling = tiling_for(*shape, **ways, whole=whole)
    for number in (tiling.channels, tiling.pixels, tiling.warps):
        assert number == power_of_two(number)
    assert tiling.warps <= 32
    assert tiling.channels * tiling.pixels <= 8 * 32 * tiling.warps
    assert 1 <= tiling.slices <= (1 if whole else MOST_SLICES)


@given(SHAPES, WAYS)
def test_a_plane_is_split_only_where_whole_ones_would_leave_a_card_idle(shape, ways):
    samples, channels, _ = shape
    tiling = tiling_for(*shape, **ways)
    if tiling.slices > 1:
        one = tiling_for(*shape, **ways, whole=True)
        groups, _, _ = one.grid(samples, channels)
        assert groups * samples < FILLS
        assert one.tiles > 2


@pytest.mark.parametrize(("channels", "side"), [(64, 256), (128, 128), (256, 64), (512, 32), (512, 16)])
def test_a_batch_of_eight_is_one_kernel_at_every_size_of_afhqs_generator(channels, side):
    tiling = tiling_for(8, channels, side * side, item_bytes=2, channels_last=False)
    assert tiling.slices == 1


@pytest.mark.parametrize(
    ("samples", "last", "expected"),
    [
        (8, False, Tiling(1, 4096, 16, slices=1, tiles=16)),
        (1, False, Tiling(1, 2048, 8, slices=8, tiles=4)),
        (8, True, Tiling(32, 64, 8, slices=32, tiles=32)),
        (1, True, Tiling(32, 64, 8, slices=64, tiles=16)),
    ],
)
def test_the_largest_planes_of_afhq_in_half(samples, last, expected):
    """64 channels of 256 x 256: 512 programs wherever they are split, but for one picture channels last."""
    assert tiling_for(samples, 64, 256 * 256, item_bytes=2, channels_last=last) == expected


@given(st.integers(1, 2**40))
def test_the_next_power_of_two_is_the_smallest_that_is_enough(number):
    assert power_of_two(number) // 2 < number <= power_of_two(number)
