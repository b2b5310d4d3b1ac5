"""How the kernels of `adain.py` cover a tensor: tile, slices and warps, from a table of numbers with reasons.

Nothing here asks the GPU: one shape runs the same kernels in the same order everywhere. The numbers are for GPUs of
60 to 170 multiprocessors, worked out and not yet measured: `starcast.benchmarks.studies.adain_kernel` measures them.
"""

from __future__ import annotations

from dataclasses import dataclass

FILLS = 132  # programs that keep a GPU busy with planes that are read twice: one per multiprocessor of an H100
SPREAD = 256  # programs that a split plane is divided among: two of sixteen warps per multiprocessor
MOST_SLICES = 64  # every slice reads all partials: beyond this, that costs more than the parallel work gains
PER_THREAD = 8  # elements: one 16-byte load of a half type
HELD = 16384  # elements that one program holds: 32 per thread of 16 warps, well below the available registers
LEAST = 1024  # elements of a tile: planes too small for four warps share a program with others
# of a tile of a plane that is read twice: 32 warps, so that each multiprocessor has one program, whose plane stays in
# the cache until it is read again (132 planes of 256 x 256 in half are 17 MB; three programs each would be 52 of 50)
WHOLE = 8192
SPLIT = 4096  # of a tile of slices, and of many channels: 16 warps, as theirs take more registers
SECTOR, LINE = 32, 128  # bytes that memory is read in, and the cache keeps: of neighbouring channels, channels last


@dataclass(frozen=True)
class Tiling:
    """A tile of `channels` x `pixels` (powers of two), computed by `warps` warps; a plane in `slices` slices of `tiles`
    tiles. One slice: one kernel does it all, and if it is one tile (`held`), reads it once; more slices: two kernels,
    the statistics first."""

    channels: int
    pixels: int
    warps: int
    slices: int
    tiles: int

    @property
    def held(self) -> bool:
        """Whether a program holds the planes that it works on."""
        return self.slices == self.tiles == 1

    def grid(self, samples: int, channels: int) -> tuple[int, int, int]:
        """The grid of a launch over [samples, channels, …]."""
        return (ceil_div(channels, self.channels), self.slices, samples)


def tiling_for(
    samples: int, channels: int, pixels: int, *, item_bytes: int, channels_last: bool, whole: bool = False,
    inputs: int = 1,
) -> Tiling:  # fmt: skip
    """The tiling of [samples, channels, pixels] or, channels last, [samples, pixels, channels].

    `whole`: one kernel whatever it costs, for callers that can launch only one. `inputs`: tensors that are read, one
    forward and two backward.
    """
    group = min(power_of_two(channels), SECTOR // item_bytes if channels_last else 1)
    plane = power_of_two(pixels)
    if group * plane <= (HELD if inputs == 1 else HELD // 4):  # two are held, and what is computed from them
        group = min(power_of_two(channels), max(group, LEAST // plane))
        return Tiling(group, plane, _warps_that_hold(group * plane), slices=1, tiles=1)
    run = min(power_of_two(channels), LINE // item_bytes) if channels_last else 1
    pixels_of_tile = min(plane, (SPLIT if channels_last else WHOLE) // run)
    programs = ceil_div(channels, run) * samples
    if whole or programs >= FILLS or pixels <= 2 * pixels_of_tile:  # read in the time of a second launch
        tiles = ceil_div(pixels, pixels_of_tile)
        return Tiling(run, pixels_of_tile, _warps(run * pixels_of_tile), slices=1, tiles=tiles)
    while run > group and ceil_div(channels, run) * samples * MOST_SLICES < SPREAD:
        run //= 2  # better two programs that read half a line each than too few that read whole ones
    pixels_of_tile = min(plane, SPLIT // run)
    programs = ceil_div(channels, run) * samples
    wanted = min(ceil_div(SPREAD, programs), MOST_SLICES, ceil_div(pixels, pixels_of_tile))
    tiles = ceil_div(ceil_div(pixels, wanted), pixels_of_tile)
    slices = ceil_div(pixels, tiles * pixels_of_tile)
    return Tiling(run, pixels_of_tile, _warps(run * pixels_of_tile), slices=slices, tiles=tiles)


def ceil_div(number: int, divisor: int) -> int:
    return -(-number // divisor)


def power_of_two(number: int) -> int:
    """The smallest power of two that is not below `number`, which is 1 or more."""
    return 1 << (number - 1).bit_length()


def _warps(elements: int) -> int:
    return max(1, elements // (32 * PER_THREAD))


def _warps_that_hold(elements: int) -> int:
    """Four as soon as there is work for them; beyond that, twice the work per thread, so that more programs fit."""
    return min(16, max(_warps(elements) // 2, min(4, _warps(elements))))
