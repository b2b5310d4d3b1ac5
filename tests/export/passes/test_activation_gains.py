"""An activation's factor goes into the scales that follow it, or stays where something else reads it."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import gap, graph, operators

from starcast.export.passes.activation_gains import move_activation_gains

NODES = """
    r = LeakyRelu <alpha = 0.2> (x)
    y = Mul (r, gain)
    s = Unsqueeze (style, axes)
    t = Reshape (style, column)
    p = Mul (y, s)
    q = Mul (t, y)
    n = Add (p, q)
"""
CONSTANTS = {"gain": np.float32(2**0.5), "axes": np.array([2, 3]), "column": np.array([0, -1, 1, 1])}
INPUTS, OUTPUTS = "float[N, 3, 4, 5] x, float[N, 3] style", "float[N, 3, 4, 5] n"


def arrays() -> tuple[np.ndarray, ...]:
    draws = np.random.RandomState(0)
    return tuple(draws.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 4, 5), (2, 3)))


@pytest.mark.parametrize("nodes", [NODES, NODES.replace("(r, gain)", "(gain, r)")])
def test_every_reader_multiplies_by_a_larger_scale(nodes: str) -> None:
    model = graph(nodes, INPUTS, OUTPUTS, **CONSTANTS)
    plain = model.clone()
    outcome = move_activation_gains(model)
    assert (outcome.fired, outcome.declined) == (1, ())
    assert gap(model, plain, *arrays()) < 1e-6
    readers = [node for node in model.graph if any(value is not None and value.name == "r" for value in node.inputs)]
    assert sorted(str(node.name) for node in readers) == ["p", "q"]
    assert operators(model)["Mul"] == 4  # two of maps, two of scales


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        (NODES.replace("Mul (t, y)", "Add (t, y)"), "q reads it without a per-channel scale"),
        (NODES.replace("Mul (t, y)", "Mul (x, y)"), "q reads it without a per-channel scale"),
        (NODES.replace("p = Mul (y, s)", "p = Mul (y, y)"), "p reads it without a per-channel scale"),
        ("r = LeakyRelu <alpha = 0.2> (x)  n = Mul (r, gain)", "its result is an output of the graph"),
    ],
)
def test_other_readers_keep_the_factor(nodes: str, reason: str) -> None:
    model = graph(nodes, INPUTS, OUTPUTS, **CONSTANTS)
    before = operators(model)["Mul"]
    outcome = move_activation_gains(model)
    assert outcome.fired == 0
    assert outcome.declined == (f"{'n' if 'n = Mul (r' in nodes else 'y'}: {reason}",)
    assert operators(model)["Mul"] == before
