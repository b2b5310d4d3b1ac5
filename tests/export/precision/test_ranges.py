"""Grids: zero has a code, outliers do not spoil them, and none that can be found loses less."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from small_graphs import graph

from starcast.export.gate.candidates import Trial
from starcast.export.precision.ranges import E4M3, UINT8, Grid, best_grid, observe


def lost(values, grid):
    return float(np.mean((values - grid.round(values)) ** 2))


def leaky(count: int = 20_000, seed: int = 0):
    values = np.random.RandomState(seed).standard_normal(count)
    return np.where(values < 0, values / 5, values)


def reaching_to_the_extremes(values):
    low, high = min(values.min(), 0), max(values.max(), 0)
    scale = (high - low) / 255
    return Grid(scale, round(-low / scale))


@pytest.mark.parametrize("values", [leaky(), -leaky(), leaky() + 3, np.zeros(9), np.array([0.0, 2.0])],
                         ids=["leaky", "mostly negative", "positive", "nothing", "two"])  # fmt: skip
@pytest.mark.parametrize("codes", [UINT8, np.dtype(np.int8), E4M3], ids=["uint8", "int8", "e4m3"])
def test_zero_has_a_code_of_its_own(values, codes):
    grid = best_grid(values, codes)
    assert grid.round(np.zeros(1)) == 0
    assert grid.codes == codes
    assert -128 <= grid.zero <= 255


def test_a_grid_holds_256_values():
    grid = Grid(0.5, 40)
    assert np.unique(grid.round(np.linspace(-1000, 1000, 100_001))).size == 256
    assert grid.round(np.array([-1000, 1000, 0.6])).tolist() == [-20, 107.5, 0.5]


def test_a_float8_grid_holds_what_e4m3_has():
    # Micikevicius et al. 2022, table 1: largest 448, smallest normal 2**-6, steps of 2**-9 below it
    grid = Grid(0.5, 0, E4M3)
    values = np.array([1e9, -1e9, 448, 0.5 * 2**-9, 0.5 * 2**-6 * 1.125, 17, 0])
    assert (grid.round(values) / 0.5).tolist() == [448, -448, 448, 2**-9, 2**-6 * 1.125, 32, 0]
    assert np.unique(grid.round(np.linspace(-300, 300, 1_000_001))).size == 2 * 126 + 1


def test_a_signed_grid_has_its_zero_at_0():
    grid = best_grid(leaky() + 3, np.dtype(np.int8))
    assert grid.zero == 0
    assert grid.round(np.array([1e9])) == pytest.approx(127 * grid.scale)


def test_no_other_range_loses_clearly_less():
    values = leaky()
    ends = [(low, high) for low in np.linspace(-1, -0.1, 40) for high in np.linspace(1, 4.5, 60)]
    grids = [Grid((high - low) / 255, round(-low / (high - low) * 255)) for low, high in ends]
    assert lost(values, best_grid(values)) < 1.03 * min(lost(values, grid) for grid in grids)


def test_one_pixel_in_a_million_does_not_spoil_the_rest():
    values = np.append(leaky(1_000_000), 20.0)
    usual = values[:-1]
    assert lost(usual, best_grid(values)) < 0.5 * lost(usual, reaching_to_the_extremes(values))


def test_what_is_observed_is_what_the_values_hold():
    model = graph(
        "x = Cast <to = 1> (image)  y = Mul (x, three)  z = Add (y, y)  translation = Cast <to = 2> (z)",
        "uint8[batch, height, width, 3] image", "uint8[batch, height, width, 3] translation", three=3.0,
    )  # fmt: skip
    unread = ir.Value(name="style", shape=ir.Shape([1, 2]), type=ir.TensorType(ir.DataType.FLOAT))
    model.graph.inputs.append(unread)
    images = [np.full((1, 2, 2, 3), level, np.uint8) for level in (1, 5)]
    trials = [Trial(image, np.zeros((1, 2), np.float32)) for image in images]
    found = observe(model, ["y", "z"], trials)
    assert {name: sorted(set(values.tolist())) for name, values in found.items()} == {"y": [3, 15], "z": [6, 30]}
    assert found["y"].size == 2 * 12
