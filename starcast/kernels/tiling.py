"""How the kernels of `adain.py` are laid over a tensor: tile, slices and warps, by a table of numbers with reasons.

Nothing here asks the card: one shape runs the same kernels in the same order everywhere. The numbers are for cards of
60 to 170 multiprocessors, worked out and not yet measured: `starcast.benchmarks.adain_kernel` measures them.
"""

from __future__ import annotations

from dataclasses import dataclass

FILLS = 128  # programs at which a card is busy with whole planes: one for nearly each multiprocessor of an H100 (132)
SPREAD = 512  # programs that a split plane is shared out to: four of eight warps for each of them
MOST_SLICES = 64  # every slice reads what all wrote: beyond it that costs more than the parallel work gains
PER_THREAD = 8  # elements: one 16-byte load of a half type; forward, a thread then takes 40 to 64 registers
WHOLE = 4096  # elements of a tile of whole planes: 16 warps, so that two programs share a multiprocessor
SPLIT = 2048  # elements of a tile of slices: 8 warps
RUN = 64  # bytes of neighbouring channels, channels last: two of the 32-byte sectors that memory is read in


@dataclass(frozen=True)
class Tiling:
    """A tile of `channels` x `pixels` (powers of two), computed by `warps` warps; a plane in `slices` slices of `tiles`
    tiles. One slice: one kernel does it all; more: two kernels, the statistics first."""

    channels: int
    pixels: int
    warps: int
    slices: int
    tiles: int

    def grid(self, samples: int, channels: int) -> tuple[int, int, int]:
        """Programs of a launch over [samples, channels, …]."""
        return (ceil_div(channels, self.channels), self.slices, samples)


def tiling_for(
    samples: int, channels: int, pixels: int, *, item_bytes: int, channels_last: bool, whole: bool = False
) -> Tiling:
    """The tiling of [samples, channels, pixels] or, channels last, [samples, pixels, channels]. `whole`: one kernel
    whatever it costs, for who can launch only one."""
    tile = _tile(channels, pixels, WHOLE, item_bytes, channels_last)
    programs = ceil_div(channels, tile[0]) * samples
    if whole or programs >= FILLS or pixels <= 2 * tile[1]:  # two tiles are read in the time of a second launch
        return Tiling(*tile, _warps(*tile), slices=1, tiles=ceil_div(pixels, tile[1]))
    tile = _tile(channels, pixels, SPLIT, item_bytes, channels_last)
    programs = ceil_div(channels, tile[0]) * samples
    wanted = min(ceil_div(SPREAD, programs), MOST_SLICES, ceil_div(pixels, tile[1]))
    tiles = ceil_div(ceil_div(pixels, wanted), tile[1])
    return Tiling(*tile, _warps(*tile), slices=ceil_div(pixels, tiles * tile[1]), tiles=tiles)


def ceil_div(number: int, divisor: int) -> int:
    return -(-number // divisor)


def power_of_two(number: int) -> int:
    """The smallest power of two that is not below `number`, which is 1 or more."""
    return 1 << (number - 1).bit_length()


def _tile(channels: int, pixels: int, elements: int, item_bytes: int, channels_last: bool) -> tuple[int, int]:
    """Channels and pixels of a tile: as many as there are, up to `elements`, and those that lie together first."""
    if channels_last:
        run = min(power_of_two(channels), RUN // item_bytes)
        return run, min(power_of_two(pixels), elements // run)
    run = min(power_of_two(pixels), elements)
    # a plane too small to keep four warps busy shares its program with others
    return min(power_of_two(channels), max(1, elements // 4 // run)), run


def _warps(channels: int, pixels: int) -> int:
    return max(1, channels * pixels // (32 * PER_THREAD))
