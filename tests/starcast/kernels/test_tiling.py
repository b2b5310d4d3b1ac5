from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starcast.kernels.tiling import FILLS, MOST_SLICES, SECTOR, Tiling, power_of_two, tiling_for

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


@given(SHAPES, WAYS, st.booleans(), st.sampled_from([1, 2]))
def test_a_tile_is_what_triton_takes(shape, ways, whole, inputs):
    """Powers of two, at most 1024 threads, and no more elements a thread than registers hold."""
    tiling = tiling_for(*shape, **ways, whole=whole, inputs=inputs)
    for number in (tiling.channels, tiling.pixels, tiling.warps):
        assert number == power_of_two(number)
    assert tiling.warps <= 32
    a_thread = tiling.channels * tiling.pixels / (32 * tiling.warps)
    assert a_thread <= (32 // inputs if tiling.held else 8)
    assert 1 <= tiling.slices <= (1 if whole else MOST_SLICES)


@given(SHAPES, WAYS, st.booleans())
def test_a_program_holds_planes_that_are_in_its_tile_whole(shape, ways, whole):
    tiling = tiling_for(*shape, **ways, whole=whole)
    assert tiling.held == (tiling.pixels >= shape[2] and tiling.slices == 1)


@given(SHAPES, WAYS)
def test_a_plane_is_split_only_where_whole_ones_would_leave_a_gpu_idle(shape, ways):
    samples, channels, _ = shape
    tiling = tiling_for(*shape, **ways)
    if tiling.slices > 1:
        one = tiling_for(*shape, **ways, whole=True)
        groups, _, _ = one.grid(samples, channels)
        assert groups * samples < FILLS
        assert one.tiles > 2


@given(SHAPES, st.sampled_from([2, 4]))
def test_channels_last_a_whole_sector_is_read_where_there_is_one(shape, item_bytes):
    tiling = tiling_for(*shape, item_bytes=item_bytes, channels_last=True)
    assert tiling.channels * item_bytes >= min(power_of_two(shape[1]) * item_bytes, SECTOR)


@pytest.mark.parametrize(("channels", "side"), [(64, 256), (128, 128), (256, 64), (512, 32), (512, 16)])
def test_a_batch_of_eight_is_one_kernel_at_every_size_of_afhqs_generator(channels, side):
    tiling = tiling_for(8, channels, side * side, item_bytes=2, channels_last=False)
    assert tiling.slices == 1
    assert tiling.held == (side < 256)


@pytest.mark.parametrize(
    ("samples", "last", "expected"),
    [
        (8, False, Tiling(1, 8192, 32, slices=1, tiles=8)),
        (1, False, Tiling(1, 4096, 16, slices=4, tiles=4)),
        (8, True, Tiling(64, 64, 16, slices=32, tiles=32)),
        (1, True, Tiling(16, 256, 16, slices=64, tiles=4)),
    ],
)
def test_the_largest_planes_of_afhq_in_half(samples, last, expected):
    """64 channels of 256 x 256: 256 programs of sixteen warps wherever they are split."""
    assert tiling_for(samples, 64, 256 * 256, item_bytes=2, channels_last=last) == expected


@given(st.integers(1, 2**40))
def test_the_next_power_of_two_is_the_smallest_that_is_enough(number):
    assert power_of_two(number) // 2 < number <= power_of_two(number)
