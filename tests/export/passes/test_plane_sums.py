"""Noise is added to a map before the bias."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import gap, graph, operators

from starcast.export.passes.plane_sums import add_planes_first

INPUTS, OUTPUTS = "float[N, 3, 4, 5] x, float[N, 1, 4, 5] noise", "float[N, 3, 4, 5] y"
CONSTANTS = {"bias": np.array([1.0, 2.0, -3.0]).reshape(3, 1, 1), "half": np.array(0.5), "row": np.ones(5)}


def arrays() -> list[np.ndarray]:
    draws = np.random.RandomState(0)
    return [draws.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 4, 5), (2, 1, 4, 5))]


@pytest.mark.parametrize("nodes", [
    "n = Mul (noise, half)  b = Add (n, bias)  y = Add (x, b)",
    "n = Mul (half, noise)  b = Add (bias, n)  y = Add (b, x)",
])  # fmt: skip
def test_the_bias_comes_last(nodes: str) -> None:
    model = graph(nodes, INPUTS, OUTPUTS, **CONSTANTS)
    plain = model.clone()
    assert add_planes_first(model).fired == 1
    assert gap(model, plain, *arrays()) < 1e-6
    last = model.graph.outputs[0].producer()
    assert last is not None
    assert [value.name for value in last.inputs if value is not None][1] == "bias"
    assert operators(model) == {"Mul": 1, "Add": 2}


@pytest.mark.parametrize("nodes", [
    "b = Add (noise, row)  y = Add (x, b)",
    "b = Add (noise, half)  y = Add (x, b)",
    "b = Add (noise, bias)  c = Add (x, b)  y = Add (c, b)",
])  # fmt: skip
def test_other_sums_stay(nodes: str) -> None:
    model = graph(nodes, INPUTS, OUTPUTS, **CONSTANTS)
    assert add_planes_first(model).fired == 0
