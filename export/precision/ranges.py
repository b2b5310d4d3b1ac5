"""Chooses the scale and zero point with which a tensor's codes lose the least.

Ranges that reach to the extremes spend codes on values that hardly occur. Those chosen here minimise the mean squared
error over a sample of the tensor's values on the calibration images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from starcast.export.gate.candidates import Floats, Trial, open_session

SAMPLE = 8192  # values sampled from each tensor and trial
_BINS = 2048
_CUTS = np.geomspace(0.05, 1, 96)  # ends to try for a range, relative to the extreme


UINT8 = np.dtype(np.uint8)
E4M3 = np.dtype(ml_dtypes.float8_e4m3fn)  # 1 bit of sign, 4 of exponent, 3 of fraction
LARGEST_E4M3 = 448.0


@dataclass(frozen=True)
class Grid:
    """value = scale * (code - zero), with codes of the type `codes`: uint8, int8, or float8 (e4m3), whose zero is 0.
    The value 0 is exact in codes: borders are filled with it."""

    scale: float
    zero: int
    codes: np.dtype[Any] = UINT8

    def round(self, values: NDArray[Any]) -> NDArray[Any]:
        """The values that the codes of these values stand for."""
        if self.codes == E4M3:
            codes = as_e4m3(values / self.scale)
        else:
            limits = np.iinfo(self.codes)
            codes = np.clip(np.rint(values / self.scale) + self.zero, limits.min, limits.max)
        stood_for: NDArray[Any] = (codes.astype(np.float64) - self.zero) * self.scale
        return stood_for


def as_e4m3(values: NDArray[Any]) -> NDArray[Any]:
    """The nearest float8 (e4m3) values; values out of range become the largest."""
    codes: NDArray[Any] = np.clip(values, -LARGEST_E4M3, LARGEST_E4M3).astype(E4M3)
    return codes


def observe(model: ir.Model, names: Iterable[str], trials: Sequence[Trial]) -> dict[str, Floats]:
    """Sample the named values in float32 over the trials."""
    watched, wanted = model.clone(), set(names)
    values = [value for node in watched.graph for value in node.outputs if value.name in wanted]
    for value in values:
        value.type = ir.TensorType(ir.DataType.FLOAT)
    watched.graph.outputs[:] = values
    session = open_session(watched)
    draws = np.random.RandomState(0)
    samples: dict[str, list[Floats]] = {str(value.name): [] for value in values}
    for trial in trials:
        for name, array in zip(samples, session.run(list(samples), trial.feeds), strict=True):
            flat = array.ravel()
            samples[name].append(flat if flat.size <= SAMPLE else flat[draws.randint(0, flat.size, SAMPLE)])
    return {name: np.concatenate(parts) for name, parts in samples.items()}


def best_grid(values: NDArray[Any], codes: np.dtype[Any] = UINT8) -> Grid:
    """The grid with the least mean squared error over the values. Signed codes have their zero at 0."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if low == high:
        return Grid(1.0, 0, codes)
    counts, edges = np.histogram(values, _BINS, (low, high))
    middles = (edges[1:] + edges[:-1]) / 2

    def lost(grid: Grid) -> float:
        return float(counts @ (middles - grid.round(middles)) ** 2)

    if codes != UINT8:
        last = LARGEST_E4M3 if codes == E4M3 else np.iinfo(codes).max
        return min((Grid(end / last, 0, codes) for end in max(high, -low) * _CUTS), key=lost)
    # Place one end, then the other, twice: the best place of one hardly depends on the other.
    for _ in range(2):
        high = min(high * _CUTS, key=lambda end: lost(_reaching(low, end)))
        low = min(low * _CUTS, key=lambda end: lost(_reaching(end, high)))
    return _reaching(low, high)


def _reaching(low: float, high: float) -> Grid:
    scale = (high - low) / 255
    return Grid(scale, int(np.clip(np.rint(-low / scale), 0, 255)))
