"""How the kernels of `adain.py` cover a tensor: tile, slices and warps, from a few numbers, each with its reason.

Nothing here asks the GPU: one shape runs the same kernels in the same order everywhere. The numbers are for GPUs with
60 to 170 multiprocessors. They are calculated, not yet measured; `starcast.benchmarks.studies.adain_kernel` measures
them.
"""

from __future__ import annotations

from dataclasses import dataclass

FILLS = 132  # programs that keep a GPU busy when planes are read twice: one per multiprocessor of an H100
SPREAD = 256  # programs that a split plane is divided among: two of sixteen warps per multiprocessor
MOST_SLICES = 64  # every slice reads all partials: beyond this, that costs more than the parallel work gains
PER_THREAD = 8  # elements: one 16-byte load of a half type
HELD = 16384  # elements that one program holds: 32 per thread of 16 warps, well below the available registers
LEAST = 1024  # elements of a tile: planes too small for four warps share a program with others
# elements of a tile when the plane is read twice: 32 warps, so that each multiprocessor runs one program, whose plane
# stays in the cache until it is read again (132 planes of 256 x 256 in half take 17 MB; with three programs per
# multiprocessor they would take 52 MB of a 50 MB cache)
WHOLE = 8192
SPLIT = 4096  # elements of a tile of a slice, or of many channels: 16 warps, because they need more registers
SECTOR, LINE = 32, 128  # bytes of a memory access and of a cache line; channels last, they hold neighbouring channels


@dataclass(frozen=True)
class Tiling:
    """A tile of `channels` x `pixels` (powers of two), computed by `warps` warps; a plane is `slices` slices of `tiles`
    tiles. With one slice, a single kernel does everything, and reads a plane of one tile (`held`) only once. With more,
    there are two kernels, the statistics first."""

    channels: int
    pixels: int
    warps: int
    slices: int
    tiles: int

    @property
    def held(self) -> bool:
        """Whether a program keeps its whole planes in registers."""
        return self.slices == self.tiles == 1

    def grid(self, samples: int, channels: int) -> tuple[int, int, int]:
        """The grid of a launch over [samples, channels, …]."""
        return (ceil_div(channels, self.channels), self.slices, samples)


def tiling_for(
    samples: int, channels: int, pixels: int, *, item_bytes: int, channels_last: bool, whole: bool = False,
    inputs: int = 1,
) -> Tiling:  # fmt: skip
    """The tiling of [samples, channels, pixels] or, channels last, [samples, pixels, channels].

    `whole`: always one kernel, for callers that can launch only one. `inputs`: number of tensors read, one forward and
    two backward.
    """
    group = min(power_of_two(channels), SECTOR // item_bytes if channels_last else 1)
    plane = power_of_two(pixels)
    if group * plane <= (HELD if inputs == 1 else HELD // 4):  # backward holds two and their products
        group = min(power_of_two(channels), max(group, LEAST // plane))
        return Tiling(group, plane, _warps_that_hold(group * plane), slices=1, tiles=1)
    run = min(power_of_two(channels), LINE // item_bytes) if channels_last else 1
    pixels_of_tile = min(plane, (SPLIT if channels_last else WHOLE) // run)
    programs = ceil_div(channels, run) * samples
    if whole or programs >= FILLS or pixels <= 2 * pixels_of_tile:  # reading twice takes no longer than a second launch
        tiles = ceil_div(pixels, pixels_of_tile)
        return Tiling(run, pixels_of_tile, _warps(run * pixels_of_tile), slices=1, tiles=tiles)
    while run > group and ceil_div(channels, run) * samples * MOST_SLICES < SPREAD:
        run //= 2  # two programs that read half a line each beat too few that read whole lines
    pixels_of_tile = min(plane, SPLIT // run)
    programs = ceil_div(channels, run) * samples
    wanted = min(ceil_div(SPREAD, programs), MOST_SLICES, ceil_div(pixels, pixels_of_tile))
    tiles = ceil_div(ceil_div(pixels, wanted), pixels_of_tile)
    slices = ceil_div(pixels, tiles * pixels_of_tile)
    return Tiling(run, pixels_of_tile, _warps(run * pixels_of_tile), slices=slices, tiles=tiles)


def ceil_div(number: int, divisor: int) -> int:
    return -(-number // divisor)


def power_of_two(number: int) -> int:
    """The smallest power of two that is at least `number` (1 or more)."""
    return 1 << (number - 1).bit_length()


def _warps(elements: int) -> int:
    return max(1, elements // (32 * PER_THREAD))


def _warps_that_hold(elements: int) -> int:
    """Up to four warps while there is work for them; beyond that, twice the work per thread, so that more programs
    fit."""
    return min(16, max(_warps(elements) // 2, min(4, _warps(elements))))
