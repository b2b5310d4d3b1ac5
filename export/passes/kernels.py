"""Kernels that combine a resampling with a 3x3 convolution; computed from weights in float64 and rounded once.

Along one axis, a kernel w = (w0, w1, w2) in correlation order means
y[p] = w0 u[p-1] + w1 u[p] + w2 u[p+1]; both axes use the same formula. Weights are (out, in, 3, 3), as in a Conv.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]

# A 3-tap kernel, then the mean of two neighbours (times two): 4 taps. w * (1, 1).
_WIDENED = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]], np.float64)
# On an enlarged map u[2i] = u[2i+1] = x[i]: even outputs read x[i-1] and x[i], odd ones x[i] and x[i+1].
_PHASES = (
    np.array([[1, 0, 0], [0, 1, 1]], np.float64),
    np.array([[1, 1, 0], [0, 0, 1]], np.float64),
)


def pooled_4x4(weight: Weights) -> Weights:
    """Conv 3x3 (pad 1), then the mean of 2x2 == Conv 4x4 (stride 2, pad 1) with these weights."""
    return _to_float32(_transform(weight, _WIDENED, _WIDENED) / 4)


def enlarged_4x4(weight: Weights) -> Weights:
    """Nearest 2x, then Conv 3x3 (pad 1) == ConvTranspose 4x4 (stride 2, pad 1) with weights (in, out, 4, 4)."""
    return _to_float32(_transform(weight, _WIDENED, _WIDENED)[:, :, ::-1, ::-1].swapaxes(0, 1))


def enlarged_3x3(weight: Weights) -> Weights:
    """Nearest 2x, then Conv 3x3 (pad 1) == ConvTranspose 3x3 (stride 2, no pad) with weights (in, out, 3, 3), then
    the mean of 2x2 (stride 1, no pad).

    Nearest 2x inserts zeros, then sums two neighbours; here that sum comes last. It is a mean, so the weights are four
    times as large.
    """
    return _to_float32(4 * weight.astype(np.float64)[:, :, ::-1, ::-1].swapaxes(0, 1))


def phase_2x2(weight: Weights, row: int, column: int) -> Weights:
    """Nearest 2x, then Conv 3x3 (pad 1): every second output, starting at `row` and `column` (0 or 1), is a Conv 2x2
    with these weights. Phase 0 pads one zero before, phase 1 one zero after."""
    return _to_float32(_transform(weight, _PHASES[row], _PHASES[column]))


def transposed_phase_2x2(weight: Weights, row: int, column: int) -> Weights:
    """ConvTranspose 4x4 (stride 2, pad 1) with weights (in, out, 4, 4): every second output, starting at `row` and
    `column` (0 or 1), is a Conv 2x2 with these weights, padded as in `phase_2x2`. Along one axis, even outputs are
    w3 x[i-1] + w1 x[i], odd ones w2 x[i] + w0 x[i+1]."""
    taps = ([3, 1], [2, 0])
    return np.ascontiguousarray(weight[:, :, taps[row]][:, :, :, taps[column]].swapaxes(0, 1))


def gathered_3x3(weight: Weights) -> Weights:
    """Conv 4x4 (stride 2, pad 1) == Conv 3x3 (pad 1) with these weights (out, 4 in, 3, 3) of SpaceToDepth. Along one
    axis, output o reads x[2o-1 … 2o+2], and square m holds x[2m] and x[2m+1]."""
    outputs, inputs = weight.shape[:2]
    # the phase (0 or 1) and square (0: the one before, …) of each of the four taps
    places = ((1, 0), (0, 1), (1, 1), (0, 2))
    gathered = np.zeros((outputs, 2, 2, inputs, 3, 3), weight.dtype)
    for i, (row, down) in enumerate(places):
        for j, (column, across) in enumerate(places):
            gathered[:, row, column, :, down, across] = weight[:, :, i, j]
    return gathered.reshape(outputs, 4 * inputs, 3, 3)


def spread_3x3(weight: Weights) -> Weights:
    """ConvTranspose 4x4 (stride 2, pad 1) with weights (in, out, 4, 4) == DepthToSpace (CRD) of a Conv 3x3 (pad 1) with
    these weights (4 out, in, 3, 3): each phase is the 2x2 of `transposed_phase_2x2`, moved to where it reads."""
    inputs, outputs = weight.shape[:2]
    spread = np.zeros((outputs, 2, 2, inputs, 3, 3), weight.dtype)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        spread[:, row, column, :, row : row + 2, column : column + 2] = transposed_phase_2x2(weight, row, column)
    return spread.reshape(4 * outputs, inputs, 3, 3)


def in_four_phases(weight: Weights) -> Weights:
    """Conv kxk (stride 1, pad k // 2) == DepthToSpace (DCR) of a Conv (k+1)x(k+1) (stride 2, the same pad) with these
    weights (4 out, in, k+1, k+1): in phase (row, column), the kernel is shifted down and right by as much."""
    outputs, inputs, side = weight.shape[:3]
    phases = np.zeros((2, 2, outputs, inputs, side + 1, side + 1), weight.dtype)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        phases[row, column, :, :, row : row + side, column : column + side] = weight
    return phases.reshape(4 * outputs, inputs, side + 1, side + 1)


def _transform(weight: Weights, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    mapped: NDArray[np.float64] = np.einsum("ap,bq,oipq->oiab", rows, columns, weight.astype(np.float64))
    return mapped


def _to_float32(weight: NDArray[np.float64]) -> Weights:
    return np.ascontiguousarray(weight, np.float32)
