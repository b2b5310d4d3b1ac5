"""AdaIN and the leaky ReLU after it, forward and backward, as Triton kernels: any layout, any size, any batch.

    y = leaky_relu((x - mean) / sqrt(variance + epsilon) * scale + shift)        mean, variance of each channel's plane

x and y are fp16, bf16 or fp32, [N, C, H, W] or channels last; scale and shift are [rows, C], with one row for all
samples or one each: sample n uses row n % rows. All arithmetic is in the type of scale and shift: float32 (float64
serves tests). A slope of 1 computes only the norm.

A mean may be a thousand times the spread; float32 then has no digits left for E[x²] - mean². So the mean of the first
tile, the pivot, is subtracted first, which is exact for such planes, and the statistics are those of the residuals.
`offset` is their mean, the pivot's error. Each lane sums their squares about a running mean (Welford 1962); lanes and
slices are joined by the formula of Chan, Golub and LeVeque (1983). The order of the sums never depends on timing, so
every run gives the same bits.

A tile is [CHANNELS, PIXELS] in both layouts. If it covers whole planes (HELD), they are read once and kept. Otherwise
they are read tile by tile, twice. The first time, several tiles are loaded together, so that each thread requests 32
bytes: one read per thread cannot keep the memory busy. The second time runs from the last tile to the first, because
the last ones are still in the cache. Forward, each tile is requested before the previous one is computed.

Importing this module needs Triton; set TRITON_INTERPRET=1 before the import to run the kernels on the CPU.
"""

# Triton compiles the source of these functions: its own types, constants in capitals, no Python iterators.
# ruff: noqa: N803, SIM113
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

AT_ONCE = tl.constexpr(32)  # bits of an element times the number of tiles loaded together


@triton.jit
def normalise(
    x, scale, shift, rows, C, HW, y, facts, EPSILON: tl.constexpr, SLOPE: tl.constexpr,
    CHANNELS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS_LAST: tl.constexpr, HELD: tl.constexpr,
):  # fmt: skip
    """Whole planes: grid (channel groups, 1, N). `facts` [N, 3, C] gets pivot, offset and 1 / std; None: not stored."""
    channels, real, sample, plane, places, step = _planes(C, HW, CHANNELS, PIXELS, CHANNELS_LAST)
    wide: tl.constexpr = scale.dtype.element_ty
    if HELD:
        inside = _tile(0, HW, real, PIXELS)
        tile = tl.load(x + plane + places, mask=inside, other=0, eviction_policy="evict_first").to(wide)
        tile, pivot = _centre(tile, inside, HW)
        tile, offset = _centre(tile, inside, HW)  # what rounding left out of the mean
        rstd = _rstd(tl.sum(tile * tile, 1), HW, EPSILON)
        factor, base = _affine(scale, shift, sample % rows, channels, real, C, rstd)
        _store(y + plane + places, tile * factor[:, None] + base[:, None], inside, SLOPE)
    else:
        pivot, offset, squares = _moments(x + plane, places, step, real, 0, HW, HW, wide, CHANNELS, PIXELS)
        rstd = _rstd(squares, HW, EPSILON)
        factor, base = _affine(scale, shift, sample % rows, channels, real, C, rstd)
        _apply(x + plane, y + plane, places, step, real, 0, HW, HW, pivot, offset, factor, base, SLOPE, PIXELS)
    if facts is not None:
        _store_facts(facts, sample, channels, real, C, pivot, offset, rstd)


@triton.jit
def slice_statistics(
    x, C, HW, tiles, partials,
    CHANNELS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS_LAST: tl.constexpr,
):  # fmt: skip
    """First of two kernels: grid (channel groups, slices, N); a slice is `tiles` tiles. `partials` [N, slices, 3, C]
    gets pivot, offset and the residuals' sum of squares about their mean."""
    channels, real, sample, plane, places, step = _planes(C, HW, CHANNELS, PIXELS, CHANNELS_LAST)
    wide: tl.constexpr = partials.dtype.element_ty
    begin = tl.program_id(1) * tiles * PIXELS
    end = tl.minimum(begin + tiles * PIXELS, HW)
    pivot, offset, squares = _moments(x + plane, places, step, real, begin, end, HW, wide, CHANNELS, PIXELS)
    _store_facts(partials, sample * tl.num_programs(1) + tl.program_id(1), channels, real, C, pivot, offset, squares)


@triton.jit
def apply_statistics(
    x, scale, shift, partials, rows, C, HW, tiles, y, facts, EPSILON: tl.constexpr, SLOPE: tl.constexpr,
    SLICES: tl.constexpr, CHANNELS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS_LAST: tl.constexpr,
):  # fmt: skip
    """Second of two kernels, on the same grid: each slice joins the partials of all slices. SLICES is a power of two,
    at least the number of slices."""
    channels, real, sample, plane, places, step = _planes(C, HW, CHANNELS, PIXELS, CHANNELS_LAST)
    slices, span = tl.num_programs(1), tiles * PIXELS
    pivot, offset, squares = _join(partials, sample, slices, span, channels, real, C, HW, SLICES)
    rstd = _rstd(squares, HW, EPSILON)
    if tl.program_id(1) == 0:
        _store_facts(facts, sample, channels, real, C, pivot, offset, rstd)
    factor, base = _affine(scale, shift, sample % rows, channels, real, C, rstd)
    begin = tl.program_id(1) * span
    end = tl.minimum(begin + span, HW)
    _apply(x + plane, y + plane, places, step, real, begin, end, HW, pivot, offset, factor, base, SLOPE, PIXELS)


@triton.jit
def gradients(
    dy, x, scale, shift, facts, rows, C, HW, dx, sums, SLOPE: tl.constexpr,
    CHANNELS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS_LAST: tl.constexpr, HELD: tl.constexpr,
):  # fmt: skip
    """Gradients of whole planes, from the facts of `normalise` and on its grid. `sums` [N, 2, C] gets the gradients of
    shift and scale, separately for each sample."""
    channels, real, sample, plane, places, step = _planes(C, HW, CHANNELS, PIXELS, CHANNELS_LAST)
    mean, low, rstd, factor, base = _load_norm(scale, shift, facts, sample, rows, channels, real, C)
    if HELD:
        inside = _tile(0, HW, real, PIXELS)
        gradient, centred = _gradient(
            dy + plane, x + plane, places, inside, mean, factor, base, SLOPE, eviction="evict_first"
        )
        first = tl.sum(gradient, 1)
        second = (tl.sum(gradient * centred, 1) - low * first) * rstd
        flat, steep = _shares(HW, low, rstd, factor, first, second)
        result = gradient * factor[:, None] - flat[:, None] - centred * steep[:, None]
        tl.store(dx + plane + places, result.to(dx.dtype.element_ty), mask=inside)
    else:
        first, second = _sums(
            dy + plane, x + plane, places, step, real, 0, HW, HW, mean, low, rstd, factor, base, SLOPE, CHANNELS, PIXELS
        )
        _apply_gradient(
            dy + plane, x + plane, dx + plane, places, step, real, 0, HW, HW,
            mean, low, rstd, factor, base, first, second, SLOPE, PIXELS,
        )  # fmt: skip
    _store_sums(sums, sample, channels, real, C, first, second)


@triton.jit
def slice_sums(
    dy, x, scale, shift, facts, rows, C, HW, tiles, partials, SLOPE: tl.constexpr,
    CHANNELS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS_LAST: tl.constexpr,
):  # fmt: skip
    """First of two kernels for the gradients, on the grid of `slice_statistics`; `partials` is [N, slices, 2, C]."""
    channels, real, sample, plane, places, step = _planes(C, HW, CHANNELS, PIXELS, CHANNELS_LAST)
    mean, low, rstd, factor, base = _load_norm(scale, shift, facts, sample, rows, channels, real, C)
    begin = tl.program_id(1) * tiles * PIXELS
    end = tl.minimum(begin + tiles * PIXELS, HW)
    first, second = _sums(
        dy + plane, x + plane, places, step, real, begin, end, HW,
        mean, low, rstd, factor, base, SLOPE, CHANNELS, PIXELS,
    )  # fmt: skip
    _store_sums(partials, sample * tl.num_programs(1) + tl.program_id(1), channels, real, C, first, second)


@triton.jit
def apply_sums(
    dy, x, scale, shift, facts, partials, rows, C, HW, tiles, dx, sums, SLOPE: tl.constexpr,
    SLICES: tl.constexpr, CHANNELS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS_LAST: tl.constexpr,
):  # fmt: skip
    """Second of two kernels for the gradients, on the same grid."""
    channels, real, sample, plane, places, step = _planes(C, HW, CHANNELS, PIXELS, CHANNELS_LAST)
    slices, span = tl.num_programs(1), tiles * PIXELS
    each = tl.arange(0, SLICES)[None, :]
    there = real[:, None] & (each < slices)
    place = partials + (sample * slices + each).to(tl.int64) * 2 * C + channels[:, None]
    first = tl.sum(tl.load(place, mask=there, other=0), 1)
    second = tl.sum(tl.load(place + C, mask=there, other=0), 1)
    if tl.program_id(1) == 0:
        _store_sums(sums, sample, channels, real, C, first, second)
    mean, low, rstd, factor, base = _load_norm(scale, shift, facts, sample, rows, channels, real, C)
    begin = tl.program_id(1) * span
    end = tl.minimum(begin + span, HW)
    _apply_gradient(
        dy + plane, x + plane, dx + plane, places, step, real, begin, end, HW,
        mean, low, rstd, factor, base, first, second, SLOPE, PIXELS,
    )  # fmt: skip


@triton.jit
def _planes(C, HW, CHANNELS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS_LAST: tl.constexpr):
    """A program's channels, a mask of those that exist, and its sample; the sample's start, the offsets of a tile's
    elements from there, and the distance between pixels. Only values that can exceed 2^31 have 64 bits."""
    channels = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    sample = tl.program_id(2)
    pixels = tl.arange(0, PIXELS)[None, :]
    if CHANNELS_LAST:
        places = channels[:, None].to(tl.int64) + pixels * C
        step = C
    else:
        places = channels[:, None].to(tl.int64) * HW + pixels
        step = 1
    return channels, channels < C, sample, sample.to(tl.int64) * C * HW, places, step


@triton.jit
def _tile(start, HW, real, PIXELS: tl.constexpr):
    """The mask of the elements that exist in the tile at pixel `start`."""
    return real[:, None] & (start + tl.arange(0, PIXELS)[None, :] < HW)


@triton.jit
def _moments(x, places, step, real, begin, end, HW, wide: tl.constexpr, CHANNELS: tl.constexpr, PIXELS: tl.constexpr):
    """For pixels begin to end: pivot, mean of the residuals from it, and their sum of squares about that mean."""
    inside = _tile(begin, HW, real, PIXELS)
    tile = tl.load(x + tl.cast(begin, tl.int64) * step + places, mask=inside, other=0).to(wide)
    pivot = tl.sum(tile, 1) / tl.minimum(end - begin, PIXELS)
    mean = tl.zeros([CHANNELS, PIXELS], wide)
    squares = tl.zeros([CHANNELS, PIXELS], wide)
    seen = 0
    for start in tl.range(begin, end, PIXELS, loop_unroll_factor=AT_ONCE // x.dtype.element_ty.primitive_bitwidth):
        inside = _tile(start, HW, real, PIXELS)
        tile = tl.load(
            x + tl.cast(start, tl.int64) * step + places, mask=inside, other=0, eviction_policy="evict_last"
        ).to(wide)
        seen += 1
        residual = tile - pivot[:, None]
        change = tl.where(inside, residual - mean, 0)
        mean += change * (1.0 / seen)
        squares += change * (residual - mean)
    lanes = tl.arange(0, PIXELS)[None, :]
    counts = ((tl.maximum(end - begin - lanes, 0) + PIXELS - 1) // PIXELS).to(wide)
    offset = tl.sum(mean * counts, 1) / (end - begin)
    apart = mean - offset[:, None]
    return pivot, offset, tl.sum(squares + counts * apart * apart, 1)


@triton.jit
def _centre(tile, inside, HW):
    """Planes minus their mean, zero outside; and the mean."""
    mean = tl.sum(tile, 1) / HW
    return tl.where(inside, tile - mean[:, None], 0), mean


@triton.jit
def _rstd(squares, HW, EPSILON: tl.constexpr):
    """1 / std. In float32 a GPU's fast division and square root are off by a unit or two in the last place. Exact ones,
    once per channel, cost nothing."""
    if squares.dtype == tl.float32:
        variance = tl.div_rn(squares, tl.cast(HW, tl.float32))
        return tl.div_rn(tl.full(squares.shape, 1, tl.float32), tl.sqrt_rn(variance + EPSILON))
    return 1 / tl.sqrt(squares / HW + EPSILON)


@triton.jit
def _join(partials, sample, slices, span, channels, real, C, HW, SLICES: tl.constexpr):
    """Join slices: what `_moments` would return for the whole plane."""
    each = tl.arange(0, SLICES)[None, :]
    there = real[:, None] & (each < slices)
    place = partials + (sample * slices + each).to(tl.int64) * 3 * C + channels[:, None]
    pivot = tl.load(partials + (sample * slices).to(tl.int64) * 3 * C + channels, mask=real, other=0)
    pivots = tl.load(place, mask=there, other=0)
    offsets = tl.load(place + C, mask=there, other=0)
    squares = tl.load(place + 2 * C, mask=there, other=0)
    counts = tl.where(there, tl.minimum(HW - each * span, span), 0).to(pivots.dtype)
    apart = (pivots - pivot[:, None]) + offsets
    offset = tl.sum(apart * counts, 1) / HW
    apart -= offset[:, None]
    return pivot, offset, tl.sum(squares + counts * apart * apart, 1)


@triton.jit
def _affine(scale, shift, row, channels, real, C, rstd):
    """The factor that multiplies a centred x, and the number that is then added."""
    return (
        tl.load(scale + row * C + channels, mask=real, other=0) * rstd,
        tl.load(shift + row * C + channels, mask=real, other=0),
    )


@triton.jit
def _mean(pivot, offset, factor, base):
    """pivot + offset rounded to one number, which a nearby x can subtract exactly; what the rounding lost; and the base
    corrected for it. Done once per channel, not per element."""
    mean = pivot + offset
    low = offset - (mean - pivot)
    return mean, low, base - low * factor


@triton.jit
def _store(place, z, inside, SLOPE: tl.constexpr):
    z = tl.where(z > 0, z, z * SLOPE)
    tl.store(place, z.to(place.dtype.element_ty), mask=inside)


@triton.jit
def _apply(
    x, y, places, step, real, begin, end, HW, pivot, offset, factor, base, SLOPE: tl.constexpr, PIXELS: tl.constexpr
):
    mean, _, base = _mean(pivot, offset, factor, base)
    tiles = (end - begin + PIXELS - 1) // PIXELS
    ahead = _load_tile(x, places, step, real, begin, begin + (tiles - 1) * PIXELS, HW, PIXELS)
    for turn in range(tiles):
        tile = ahead.to(pivot.dtype)
        start = begin + (tiles - 1 - turn) * PIXELS
        ahead = _load_tile(x, places, step, real, begin, start - PIXELS, HW, PIXELS)
        z = (tile - mean[:, None]) * factor[:, None] + base[:, None]
        _store(y + tl.cast(start, tl.int64) * step + places, z, _tile(start, HW, real, PIXELS), SLOPE)


@triton.jit
def _load_tile(x, places, step, real, begin, start, HW, PIXELS: tl.constexpr):
    """The tile at pixel `start`; zeros if that is before `begin`."""
    inside = _tile(start, HW, real, PIXELS) & (start >= begin)
    return tl.load(x + tl.cast(start, tl.int64) * step + places, mask=inside, other=0, eviction_policy="evict_first")


@triton.jit
def _load_norm(scale, shift, facts, sample, rows, channels, real, C):
    """What `_mean` returns, 1 / std and the factor, for a norm whose facts were stored."""
    pivot, offset, rstd = _load_facts(facts, sample, channels, real, C)
    factor, base = _affine(scale, shift, sample % rows, channels, real, C, rstd)
    mean, low, base = _mean(pivot, offset, factor, base)
    return mean, low, rstd, factor, base


@triton.jit
def _gradient(dy, x, place, inside, mean, factor, base, SLOPE: tl.constexpr, eviction: tl.constexpr):
    """The gradient before the activation, and x minus `mean`, of one tile."""
    tile = tl.load(x + place, mask=inside, other=0, eviction_policy=eviction).to(mean.dtype)
    gradient = tl.load(dy + place, mask=inside, other=0, eviction_policy=eviction).to(mean.dtype)
    centred = tile - mean[:, None]
    return tl.where(centred * factor[:, None] + base[:, None] > 0, gradient, gradient * SLOPE), centred


@triton.jit
def _sums(
    dy, x, places, step, real, begin, end, HW, mean, low, rstd, factor, base, SLOPE: tl.constexpr,
    CHANNELS: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """Sums of the gradient, and of the gradient times the normalised x."""
    first = tl.zeros([CHANNELS, PIXELS], mean.dtype)
    second = tl.zeros([CHANNELS, PIXELS], mean.dtype)
    for start in tl.range(begin, end, PIXELS, loop_unroll_factor=AT_ONCE // x.dtype.element_ty.primitive_bitwidth):
        inside = _tile(start, HW, real, PIXELS)
        place = tl.cast(start, tl.int64) * step + places
        gradient, centred = _gradient(dy, x, place, inside, mean, factor, base, SLOPE, "evict_last")
        first += gradient
        second += gradient * centred  # outside, the gradient is 0
    total = tl.sum(first, 1)
    return total, (tl.sum(second, 1) - low * total) * rstd


@triton.jit
def _shares(HW, low, rstd, factor, first, second):
    """What is subtracted from every element's gradient: a constant, and a multiple of x minus `mean`."""
    steep = factor * second / HW * rstd
    return factor * first / HW - low * steep, steep


@triton.jit
def _apply_gradient(
    dy, x, dx, places, step, real, begin, end, HW, mean, low, rstd, factor, base, first, second,
    SLOPE: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """factor * (g - mean(g) - n * mean(g n)), n being the normalised x."""
    flat, steep = _shares(HW, low, rstd, factor, first, second)
    tiles = (end - begin + PIXELS - 1) // PIXELS
    for turn in range(tiles):
        start = begin + (tiles - 1 - turn) * PIXELS
        inside = _tile(start, HW, real, PIXELS)
        place = tl.cast(start, tl.int64) * step + places
        gradient, centred = _gradient(dy, x, place, inside, mean, factor, base, SLOPE, "evict_first")
        result = gradient * factor[:, None] - flat[:, None] - centred * steep[:, None]
        tl.store(dx + place, result.to(dx.dtype.element_ty), mask=inside)


@triton.jit
def _store_facts(facts, row, channels, real, C, pivot, offset, third):
    place = facts + row.to(tl.int64) * 3 * C + channels
    tl.store(place, pivot, mask=real)
    tl.store(place + C, offset, mask=real)
    tl.store(place + 2 * C, third, mask=real)


@triton.jit
def _load_facts(facts, row, channels, real, C):
    place = facts + row.to(tl.int64) * 3 * C + channels
    return (
        tl.load(place, mask=real, other=0),
        tl.load(place + C, mask=real, other=0),
        tl.load(place + 2 * C, mask=real, other=0),
    )


@triton.jit
def _store_sums(sums, row, channels, real, C, first, second):
    place = sums + row.to(tl.int64) * 2 * C + channels
    tl.store(place, first, mask=real)
    tl.store(place + C, second, mask=real)
