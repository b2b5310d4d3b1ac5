"""The images' scale goes into the first and the last weights, and the zero border keeps its grey."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import graph, operators, run

from starcast.export.passes.byte_range import ScaleIntoFirst, ScaleIntoLast
from starcast.export.passes.rule import apply_rules

FIRST = "d = Div (x, levels)  s = Sub (d, one)  y = Conv <pads = [1, 1, 1, 1]> (s, w, b)"
LAST = "c = Conv (x, w1, b)  m = Mul (c, levels)  y = Add (m, levels)"


def network(nodes: str):
    draws = np.random.RandomState(0)
    return graph(
        nodes, "float[N, 3, H, W] x, float computed, float[3, 3, 1, 1] made", "float[N, 3, H, W] y",
        levels=127.5, one=1.0, w=draws.standard_normal((3, 3, 3, 3)), w1=draws.standard_normal((3, 3, 1, 1)),
        b=draws.standard_normal(3),
        each=np.arange(1.0, 4.0)[:, None, None],
    )  # fmt: skip


@pytest.mark.parametrize(("kind", "nodes", "left"), [
    (ScaleIntoFirst, FIRST, {"Sub": 1, "Conv": 1}),
    (ScaleIntoLast, LAST, {"Conv": 1}),
    (ScaleIntoLast, LAST.replace("(x, w1, b)", "(x, w1)"), {"Conv": 1}),
    (ScaleIntoLast, LAST.replace("(c, levels)", "(levels, c)").replace("(m, levels)", "(levels, m)"), {"Conv": 1}),
])  # fmt: skip
def test_it_fires_and_the_numbers_stay(kind, nodes, left):
    model, before = network(nodes), network(nodes)
    assert apply_rules(model, kind).fired == 1
    assert operators(model) == left
    bytes_ = np.random.RandomState(1).randint(0, 256, (2, 3, 6, 7)).astype(np.float32)
    expected = run(before, bytes_)
    assert np.abs(run(model, bytes_) - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize(("kind", "nodes", "reason"), [
    (ScaleIntoFirst, FIRST.replace("(x, levels)", "(x, each)"), "the image is not scaled by constants"),
    (ScaleIntoFirst, FIRST.replace("(x, levels)", "(x, computed)"), "the image is not scaled by constants"),
    (ScaleIntoFirst, FIRST.replace("(s, w, b)", "(s, made)"), "its weight is not constant"),
    (ScaleIntoFirst, FIRST + "  z = Relu (s)".replace("z", "unused"), "another node reads an intermediate value"),
    (ScaleIntoLast, LAST.replace("(c, levels)", "(c, each)"), "the image is not scaled by constants"),
    (ScaleIntoLast, LAST.replace("(x, w1, b)", "(x, made, b)"), "its weights are not constant"),
])  # fmt: skip
def test_it_declines_with_a_reason(kind, nodes, reason):
    model = network(nodes)
    outcome = apply_rules(model, kind)
    assert outcome.fired == 0
    assert [sentence.partition(": ")[2] for sentence in outcome.declined] == [reason]
